"""How the journal file is opened, refused, locked, and how its failures are told."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cegid_daemon.errors import (
    JournalDamaged,
    JournalError,
    JournalMissing,
    JournalNewer,
    JournalUnavailable,
)
from cegid_daemon.journal import commits
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.failures import translate
from cegid_daemon.journal.marker import Progress, marker, read_marker
from cegid_daemon.journal.wal_lock import WalLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "journal.sqlite"


@pytest.fixture
def connection(path: Path) -> Iterator[Connection]:
    opened = Connection(path)
    yield opened
    opened.close()


def add_folder(connection: Connection, name: str) -> None:
    connection.execute("INSERT INTO folder_made VALUES ('e', ?, 'now')", (name,))


def folders(connection: Connection) -> list[str]:
    return [row[0] for row in connection.query("SELECT folder FROM folder_made ORDER BY folder")]


def test_a_new_journal_appears_with_its_pragmas_and_only_for_its_owner(connection: Connection, path: Path) -> None:
    pragmas = {
        name: connection.db.conn.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "page_size", "auto_vacuum", "busy_timeout")
    }
    assert pragmas == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "page_size": 8192, "auto_vacuum": 2,
        "busy_timeout": 30000,
    }  # fmt: skip
    add_folder(connection, "a")
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir() if file != marker(path)}
    assert modes == {"journal.sqlite": 0o600, "journal.sqlite-wal": 0o600, "journal.sqlite-shm": 0o600}


def test_making_a_journal_leaves_nothing_beside_it_but_the_marker(path: Path) -> None:
    Connection(path).close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.sqlite", "journal.sqlite.kept"]


def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    first = Connection(path)
    add_folder(first, "a")
    first.close()
    second = Connection(path)
    assert folders(second) == ["a"]
    second.close()


def test_a_journal_that_is_gone_is_not_made_anew_in_silence(path: Path) -> None:
    Connection(path).close()
    path.unlink()
    with pytest.raises(JournalMissing, match="backup"):
        Connection(path)
    assert not path.exists()
    marker(path).unlink()
    Connection(path).close()


def test_a_log_left_without_its_journal_is_refused_too(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("journal.sqlite-wal").write_bytes(b"frames")
    with pytest.raises(JournalMissing):
        Connection(path)


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\x00" + b"\x07" * 5000])
def test_a_file_that_is_no_journal_is_refused_and_not_touched(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match="backup"):
        Connection(path)
    assert path.read_bytes() == content


def test_another_sqlite_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (a)")
    other.close()
    with pytest.raises(JournalDamaged, match="no journal"):
        Connection(path)


def test_a_journal_that_may_not_be_read_is_told_with_what_to_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Connection(path).close()

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(JournalUnavailable, match=r"Permission denied\. Run the command as the daemon's user"):
        Connection(path)


def test_damage_in_the_middle_is_found_at_opening(path: Path) -> None:
    opened = Connection(path)
    with opened.transaction():
        for number in range(3000):
            add_folder(opened, f"folder {number:06}")
    opened.close()
    content = bytearray(path.read_bytes())
    page = content.index(b"folder 001500") // 8192 * 8192
    content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match="backup"):
        Connection(path)


def test_a_truncated_journal_is_refused(path: Path) -> None:
    Connection(path).close()
    path.write_bytes(path.read_bytes()[: 8192 * 3])
    with pytest.raises(JournalDamaged):
        Connection(path)


def test_a_journal_of_a_newer_version_is_refused(path: Path) -> None:
    opened = Connection(path)
    opened.db["_sqlite_migrations"].insert(
        {"id": 99, "migration_set": "cegid_daemon", "name": "m099_tomorrow", "applied_at": ""}
    )
    opened.close()
    with pytest.raises(JournalNewer, match="m099_tomorrow"):
        Connection(path)


def test_an_older_journal_is_brought_up_to_date_but_not_by_a_reader(path: Path) -> None:
    opened = Connection(path)
    for table in ("search_key", "search_key_fts", "search_posting", "search_due"):
        opened.execute(f"DROP TABLE {table}")
    opened.execute("DELETE FROM _sqlite_migrations WHERE name = 'm003_search'")
    opened.close()
    with pytest.raises(JournalError, match="Start the daemon"):
        Connection(path, readonly=True)
    opened = Connection(path)
    assert opened.query("SELECT * FROM search_due") == []
    opened.close()


def test_a_reader_needs_a_journal_and_cannot_write(connection: Connection, path: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalMissing):
        Connection(tmp_path / "none.sqlite", readonly=True)
    reader = Connection(path, readonly=True)
    with pytest.raises(JournalUnavailable):
        add_folder(reader, "a")
    reader.close()


def test_a_transaction_is_all_or_nothing(connection: Connection) -> None:
    with pytest.raises(ZeroDivisionError), connection.transaction():
        add_folder(connection, "a")
        raise ZeroDivisionError
    assert folders(connection) == []


def test_an_inner_transaction_joins_the_outer_one(connection: Connection) -> None:
    with pytest.raises(ZeroDivisionError), connection.transaction():
        with connection.transaction():
            add_folder(connection, "a")
        raise ZeroDivisionError
    assert folders(connection) == []


def test_an_inner_transaction_that_fails_undoes_itself_alone(connection: Connection) -> None:
    with connection.transaction():
        add_folder(connection, "outer")
        with pytest.raises(ZeroDivisionError), connection.transaction():
            add_folder(connection, "inner")
            raise ZeroDivisionError
        with connection.transaction():
            add_folder(connection, "second")
    assert folders(connection) == ["outer", "second"]


def test_a_broken_constraint_stays_what_it_is(connection: Connection) -> None:
    add_folder(connection, "a")
    with pytest.raises(sqlite3.IntegrityError):
        add_folder(connection, "a")


def test_work_after_commit_is_done_once_and_never_after_an_undoing(connection: Connection) -> None:
    done: list[str] = []
    with connection.transaction():
        with pytest.raises(ZeroDivisionError), connection.transaction():
            connection.after_commit(lambda: done.append("undone"))
            raise ZeroDivisionError
        with connection.transaction():
            connection.after_commit(lambda: done.append("kept"))
        assert done == []
    connection.after_commit(lambda: done.append("at once"))
    assert done == ["kept", "at once"]


def test_the_version_tells_of_every_write_and_of_nothing_else(connection: Connection, path: Path) -> None:
    beside = Connection(path, checkpoints=False)
    seen = [connection.version()]
    for writer in (connection, beside, connection):
        folders(connection)
        assert connection.version() == seen[-1]
        add_folder(writer, str(len(seen)))
        seen.append(connection.version())
    assert len(set(seen)) == 4
    beside.close()


def test_two_connections_write_in_turn(connection: Connection, path: Path) -> None:
    beside = Connection(path, checkpoints=False)
    for number in range(20):
        add_folder((connection, beside)[number % 2], f"{number:02}")
    assert folders(connection) == folders(beside) == [f"{number:02}" for number in range(20)]
    beside.close()


def test_a_process_beside_waits_for_the_lock_instead_of_failing(connection: Connection, path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from cegid_daemon.journal.connection import Connection\n"
        "c = Connection(Path(sys.argv[1])); print('open', flush=True)\n"
        "c.execute(\"INSERT INTO folder_made VALUES ('e', 'beside', 'now')\"); c.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as beside:
        assert beside.stdout is not None
        with connection.transaction():
            add_folder(connection, "here")
            assert beside.stdout.readline() == b"open\n"
        assert beside.wait(30) == 0
    assert folders(connection) == ["beside", "here"]


def test_another_program_that_holds_the_journal_is_told_as_such(connection: Connection, path: Path) -> None:
    connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="held by another program"), connection.transaction():
            pass
    finally:
        other.close()


def test_a_full_disk_ends_the_transaction_and_is_told_as_waiting(connection: Connection) -> None:
    pages = connection.db.conn.execute("PRAGMA page_count").fetchone()[0]
    connection.db.conn.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone()
    with pytest.raises(JournalUnavailable, match="free space"), connection.transaction():
        for number in range(3000):
            add_folder(connection, f"folder {number}")
    connection.db.conn.execute("PRAGMA max_page_count = 100000").fetchone()
    assert folders(connection) == []
    add_folder(connection, "again")
    assert folders(connection) == ["again"]


def test_statements_after_a_transaction_sqlite_ended_do_not_commit_alone(connection: Connection) -> None:
    with pytest.raises(JournalUnavailable), connection.transaction():
        connection.db.conn.execute("ROLLBACK")
        add_folder(connection, "stray")
    assert folders(connection) == []


def test_a_marker_that_was_removed_is_made_again_and_locked(connection: Connection, path: Path) -> None:
    """Else processes that begin later lock another file, and a checkpoint of theirs meets our commits."""
    add_folder(connection, "a")
    marker(path).unlink()
    add_folder(connection, "b")
    descriptor = os.open(marker(path), os.O_RDWR)
    try:
        with connection.transaction():
            assert not WalLock(descriptor).exclude(0)
        assert WalLock(descriptor).exclude(0)
    finally:
        os.close(descriptor)
    assert read_marker(path) == Progress(*connection.query("SELECT generation, commits FROM journal_progress")[0])
    assert "beside this file" in marker(path).read_text()


def test_connections_that_began_before_and_after_the_marker_was_removed_share_the_lock(
    connection: Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "WAIT_SECONDS", 0.01)
    marker(path).unlink()
    with closing(Connection(path)) as later:
        assert later._commits is not None
        assert later._commits._lock.exclude(0)
        with pytest.raises(JournalUnavailable, match=r"stopped.*fuser -v .*journal\.sqlite\.kept"):
            add_folder(connection, "a")
        later._commits._lock.release()
        add_folder(connection, "a")
        assert folders(later) == ["a"]


def test_a_file_system_without_locks_is_told_as_such(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch, pytest.raises(JournalUnavailable, match=r"cannot be locked.*No locks"):
        patch.setattr(WalLock, "_lock", refuse)
        add_folder(connection, "a")
    add_folder(connection, "a")


def test_what_is_a_bug_is_not_translated(path: Path) -> None:
    assert translate(sqlite3.OperationalError("no such column"), path) is None
