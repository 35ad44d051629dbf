"""Several processes write the journal and make checkpoints: no commit meets a checkpoint, and nothing is lost.

Each process notes in one shared file, by appended words, what it is amid; the order of the words is the order of the
events.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from cegid_daemon.journal.connection import Connection

ROWS = 150
WRITERS = 3
SCRIPT = """
import os, sys
from pathlib import Path
from cegid_daemon.journal.commits import Commits
from cegid_daemon.journal.connection import Connection

path, name, rows, checkpoints = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
words = os.open(path.with_name("words"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(word):
    os.write(words, f"{name} {word}\\n".encode())

class Watched:
    def __init__(self, raw):
        self._raw = raw

    def execute(self, sql):
        if "wal_checkpoint" not in sql:
            return self._raw.execute(sql)
        note("checkpoint begins")
        try:
            return self._raw.execute(sql)
        finally:
            note("checkpoint ends")

begin, end = Commits.begin, Commits.end

def watched_begin(self):
    begin(self)
    note("commit begins")

def watched_end(self, *, committed):
    note("commit ends")
    end(self, committed=committed)

Commits.begin, Commits.end = watched_begin, watched_end
connection = Connection(path, checkpoints=checkpoints)
connection._commits._raw = Watched(connection._raw)
connection._raw.set_trace_callback(lambda sql: note("COMMIT") if sql.startswith("COMMIT") else None)
for number in range(rows):
    with connection.transaction():
        connection.execute("INSERT INTO folder_made VALUES (?, ?, ?)", (name, str(number), "x" * 9000))
    if number % 7 == 0:
        connection.checkpoint()
connection._raw.set_trace_callback(None)
connection.close()
"""


def start(path: Path, name: str, rows: int, *, checkpoints: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path), name, str(rows), str(checkpoints)])


def assert_exclusion(words: str) -> Counter[str]:
    """Reads the words in their order; returns how often each was noted."""
    committing: set[str] = set()
    checkpointing = ""
    for line in words.splitlines():
        name, _, word = line.partition(" ")
        if word == "COMMIT":
            assert name in committing, f"{name} commits without the lock"
        elif word == "commit begins":
            assert not checkpointing, f"a commit of {name} begins amid a checkpoint of {checkpointing}"
            committing.add(name)
        elif word == "commit ends":
            committing.remove(name)
        elif word == "checkpoint begins":
            assert not checkpointing, f"checkpoints of {name} and {checkpointing} meet"
            assert not committing, f"a checkpoint of {name} begins amid commits of {committing}"
            checkpointing = name
        else:
            checkpointing = ""
    return Counter(line.partition(" ")[2] for line in words.splitlines())


def test_commits_and_checkpoints_of_several_processes_never_meet(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(Connection(path)) as opened:
        writers = [start(path, f"w{no}", ROWS, checkpoints=no == 0) for no in range(WRITERS)]
        while any(writer.poll() is None for writer in writers):
            with opened.transaction():
                opened.execute("INSERT OR REPLACE INTO folder_made VALUES ('here', 'a', 'now')")
            opened.checkpoint()
        assert [writer.returncode for writer in writers] == [0] * WRITERS
        assert opened.query("SELECT count(*) FROM folder_made")[0][0] == WRITERS * ROWS + 1
        assert opened.query("PRAGMA integrity_check")[0][0] == "ok"
        assert opened.wal_bytes() < 64 << 20
    counted = assert_exclusion((tmp_path / "words").read_text())
    assert counted["COMMIT"] >= WRITERS * ROWS
    assert counted["checkpoint begins"] == counted["checkpoint ends"] >= WRITERS * ROWS // 7


def test_a_process_killed_amid_its_work_holds_up_nobody_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(Connection(path)) as opened:
        for no in range(6):
            victim = start(path, f"v{no}", 100_000, checkpoints=True)
            while not opened.query("SELECT 1 FROM folder_made WHERE endpoint = ? LIMIT 1", (f"v{no}",)):
                time.sleep(0.01)
            time.sleep(random.Random(no).random() / 10)
            victim.kill()
            victim.wait()
            kept = opened.query("SELECT count(*) FROM folder_made")[0][0]
            with opened.transaction():
                opened.execute("INSERT INTO folder_made VALUES ('here', ?, 'now')", (str(no),))
            opened.checkpoint()
            assert opened.query("SELECT count(*) FROM folder_made")[0][0] == kept + 1
        assert opened.query("PRAGMA integrity_check")[0][0] == "ok"


def test_a_reader_of_the_same_process_does_not_end_the_locks_of_its_writer(tmp_path: Path) -> None:
    """Else a command beside the daemon would take itself for the last, and remove the log that the daemon writes."""
    path = tmp_path / "journal.sqlite"
    with closing(Connection(path)) as writer:
        writer.execute("INSERT INTO folder_made VALUES ('e', 'before', 'now')")
        Connection(path, readonly=True, checkpoints=False, examined=True).close()
        Connection(path, readonly=True, checkpoints=False).close()
        assert start(path, "beside", 1, checkpoints=False).wait() == 0
        assert path.with_name("journal.sqlite-wal").exists()
        writer.execute("INSERT INTO folder_made VALUES ('e', 'after', 'now')")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as other:
            found = other.execute("SELECT folder FROM folder_made WHERE endpoint = 'e' ORDER BY folder").fetchall()
    assert found == [("after",), ("before",)]


def test_a_write_ahead_log_that_a_reader_let_grow_is_cut_back_when_the_reader_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(Connection(path)) as writer:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM folder_made").fetchone()
            for number in range(70):
                writer.execute("INSERT INTO folder_made VALUES ('e', ?, ?)", (str(number), "x" * (1 << 20)))
            assert writer.wal_bytes() > 64 << 20
        writer._commits._cut_at = 0.0  # type: ignore[union-attr]
        writer.checkpoint()
        assert writer.wal_bytes() == 0


def test_the_write_ahead_log_stays_small_without_anybody_asking(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(Connection(path)) as writer:
        for number in range(150):
            writer.execute("INSERT INTO folder_made VALUES ('e', ?, ?)", (str(number), "x" * (1 << 20)))
        assert writer.wal_bytes() < 48 << 20
