"""Backup: a checked copy of the journal while the daemon runs.

Reads through a connection of its own from one moment's state, so nobody waits and nothing is half in the copy; the copy
is checked, made durable and only then gets its name.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cegid_daemon.errors import JournalError, Place, Refused
from cegid_daemon.files import fsync_dir, fsync_file, refuse_link
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.continuity import BACKUP_STAMP
from cegid_daemon.journal.marker import marker
from cegid_daemon.journal.reader import connect

_PAGES = 2_048  # copied between two calls of `progress`

Progress = Callable[[int, int], None]  # (pages done, pages in all)


def backup(connection: Connection, dest: Path, progress: Progress = lambda _done, _total: None) -> None:
    """Writes a copy to `dest` (mode 0600), replacing what is there once the new one is proved whole.

    Raises Refused if `dest` cannot be written or is no place for it, JournalError if the copy is not whole.
    """
    _refuse_what_must_stay(connection.path, dest)
    aside = dest.with_name(f".{dest.name}.{os.getpid()}.part")
    try:
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(connection.path, aside, progress)
        _prove(aside)
        _give_name(aside, dest)
    except (OSError, sqlite3.Error) as exc:
        raise Refused(
            "the backup cannot be written", where=Place(file=str(dest)), why=str(exc),
            remedy="Give it a folder that exists, may be written to and has the space.",
        ) from exc  # fmt: skip
    finally:
        aside.unlink(missing_ok=True)


def _refuse_what_must_stay(path: Path, dest: Path) -> None:
    own = [path, marker(path), *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))]
    if dest.resolve() in [one.resolve() for one in own]:
        raise Refused("the journal cannot be its own backup", remedy="Name another file.")
    refuse_link(dest)
    if dest.exists() and not dest.is_file():
        raise Refused("the backup replaces nothing but a file", where=Place(file=str(dest)),
                      remedy="Name a file, or a name that is free.")  # fmt: skip


def _copy(path: Path, aside: Path, progress: Progress) -> None:
    with closing(connect(path, readonly=True)) as source, closing(sqlite3.connect(aside)) as copy:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on, one state for the whole copy
        source.backup(copy, pages=_PAGES, progress=lambda _status, left, total: progress(total - left, total))
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # so that the copy is one file
        _stamp(copy)


def _stamp(copy: sqlite3.Connection) -> None:
    """So that a restored backup is known as one."""
    sql = "INSERT OR REPLACE INTO about (key, value) VALUES (?, strftime('%Y-%m-%dT%H:%M:%f000Z'))"
    with copy:
        copy.execute(sql, (BACKUP_STAMP,))


def _prove(aside: Path) -> None:
    with closing(sqlite3.connect(aside)) as copy:
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        broken = copy.execute("PRAGMA foreign_key_check").fetchone()
    if found != "ok" or broken is not None:
        raise JournalError(
            "the backup is not whole, and was not kept",
            why=str(found) if found != "ok" else f"a row of {broken[0]} refers to nothing",
            remedy="The journal itself may be damaged: keep the last good backup, and look at the disk.",
        )


def _give_name(aside: Path, dest: Path) -> None:
    fsync_file(aside)
    aside.replace(dest)
    fsync_dir(dest.parent)
