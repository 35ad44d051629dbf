"""What a failure of SQLite means: a damaged journal, one that is held or cannot be written now, or a bug."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cegid_daemon.errors import JournalDamaged, JournalError, JournalUnavailable, Place
from cegid_daemon.journal.lost_log import lost_log

RESTORE = (
    "Stop the daemon, keep the broken file aside (with its -wal and -shm), and put a copy made by "
    "`cegid-daemon backup` in its place."
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM,
    }
)  # fmt: skip


def refuse_damage(raw: sqlite3.Connection, path: Path) -> None:
    """Reads the whole file through. Raises JournalDamaged with SQLite's first finding, or JournalLogLost."""
    found = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, str(found))


def damaged(path: Path, why: str) -> JournalError:
    """The error for a broken journal, with how to restore it; or for one whose log was taken away."""
    return lost_log(path) or JournalDamaged(
        "the journal is damaged", where=Place(file=str(path)), why=why, remedy=RESTORE
    )


def translate(exc: sqlite3.DatabaseError, path: Path) -> JournalError | None:
    """The error a foreign one stands for; None for what is a bug or a constraint the caller asked for."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return damaged(path, str(exc))
    if code in _HELD:
        return JournalUnavailable(
            "the journal is held by another program", where=Place(file=str(path)), why=str(exc),
            remedy=f"Let that program end (`fuser -v {path}` names it; one that `ps` shows in state T was stopped), "
            "and let other tools only read the journal; work resumes by itself.",
        )  # fmt: skip
    if code in _UNAVAILABLE:
        return JournalUnavailable(
            "the journal cannot be read or written now",
            where=Place(file=str(path)),
            why=f"{exc} ({getattr(exc, 'sqlite_errorname', 'no code')})",
            remedy="Look at free space, mount and permissions of its folder; work resumes by itself.",
        )
    return None
