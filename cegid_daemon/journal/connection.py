"""One connection to the journal file: how it is opened, checked, locked, and how its failures are told.

Owns the pragmas, the one transaction helper and the translation of SQLite's errors into the error tree. A journal
appears whole or not at all, is never made anew where one was before, and a broken one is never written to. Knows no
table but the list of applied migrations.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from cegid_daemon.errors import JournalDamaged, JournalError, JournalUnavailable, Place
from cegid_daemon.journal import birth
from cegid_daemon.journal.reader import connect
from cegid_daemon.journal.upgrades import migrations

Parameters = Sequence[Any] | Mapping[str, Any]
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
_LOG_KEPT = 64 << 20  # bytes; a write-ahead log that a long reader let grow is cut back to this
_CHECKED_WHOLE = 256 << 20  # bytes; a larger file is not read through at every start


class Connection:
    """A connection threads share under one lock; it may be the only one of a process, and other processes have theirs.

    `checkpoints` belongs to the daemon alone: a command working beside it leaves the write-ahead log to the daemon.
    `examined`: this process has opened the file before and found it whole and up to date.
    Raises JournalMissing, JournalDamaged, JournalNewer, JournalUnavailable.
    """

    def __init__(self, path: Path, readonly: bool = False, *, checkpoints: bool = True, examined: bool = False) -> None:
        self.path = path
        self.readonly = readonly
        self._lock = threading.RLock()
        self._depth = 0
        self._deferred: list[Callable[[], None]] = []
        if not readonly:
            birth.make_unless_there(path)
        birth.refuse_what_is_no_journal(path)
        with self._translated():
            self._raw = _open(path, readonly, checkpoints)
        self.db = Database(self._raw, execute_plugins=False, recursive_triggers=False)
        try:
            if not examined:
                self._examine()
        except BaseException:
            self._raw.close()
            raise

    def _examine(self) -> None:
        with self._translated():
            if self.path.stat().st_size <= _CHECKED_WHOLE:
                refuse_damage(self._raw, self.path)
            if pending := birth.pending_migrations(self.db, self.path):
                self._migrate(pending)
        birth.mark(self.path, self.readonly)

    def _migrate(self, pending: int) -> None:
        if self.readonly:
            raise JournalError(
                f"the journal lacks {pending} change(s) of its tables",
                where=Place(file=str(self.path)),
                remedy="Start the daemon of this version once; it brings the journal up to date.",
            )
        with self.transaction():
            migrations.apply(self.db)

    def query(self, sql: str, params: Parameters = ()) -> list[sqlite3.Row]:
        """Every row of a SELECT; bounded by the caller's LIMIT, no cursor stays open."""
        with self._lock, self._translated():
            return self._raw.execute(sql, params).fetchall()

    def version(self) -> tuple[int, int]:
        """Another value whenever anything was written since, through this connection or by another program."""
        with self._lock, self._translated():
            return self._raw.total_changes, int(self._raw.execute("PRAGMA data_version").fetchone()[0])

    def one(self, sql: str, params: Parameters = ()) -> sqlite3.Row | None:
        """The first row, or None."""
        with self._lock, self._translated():
            cursor = self._raw.execute(sql, params)
            try:
                row: sqlite3.Row | None = cursor.fetchone()
            finally:
                cursor.close()
            return row

    def execute(self, sql: str, params: Parameters = ()) -> sqlite3.Cursor:
        """Runs a statement; `rowcount` and `lastrowid` of the cursor tell what came of it.

        Outside of `transaction()` it is a transaction of its own. Constraint errors stay `sqlite3.IntegrityError`.
        """
        with self._lock, self._translated():
            self._refuse_lost_transaction()
            return self._raw.execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Parameters]) -> sqlite3.Cursor:
        """Runs a statement for each of `rows`; outside of `transaction()` in a transaction of its own."""
        with self.transaction():
            return self._raw.executemany(sql, rows)

    def stage(self, sql: str, rows: Iterable[Parameters] | None = None) -> None:
        """Works on a temporary table: `sql` once, or for each of `rows` (a few thousand a call). Locks no file."""
        with self._lock, self._translated():
            if rows is None:
                self._raw.execute(sql)
            elif self._depth:
                self._raw.executemany(sql, rows)
            else:
                self._raw.execute("BEGIN")
                try:
                    self._raw.executemany(sql, rows)
                finally:
                    self._raw.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: BEGIN IMMEDIATE … COMMIT under the lock. Inside another one it joins it.

        An inner one that fails undoes only itself; whether the outer one goes on is for its caller to decide.
        """
        with self._lock, self._translated():
            self._refuse_lost_transaction()
            begin, commit, undo = self._brackets()
            deferred = len(self._deferred)
            self._raw.execute(begin)
            self._depth += 1
            try:
                yield
                self._refuse_lost_transaction()
                self._raw.execute(commit)
            except BaseException:
                del self._deferred[deferred:]
                self._undo(undo)
                raise
            finally:
                self._depth -= 1
        self.after_commit()

    def after_commit(self, *work: Callable[[], None]) -> None:
        """Does `work` once the open transaction of this thread is committed, never if it is undone; at once outside."""
        with self._lock:
            self._deferred += work
            if self._depth:
                return
            due, self._deferred = self._deferred, []
        for step in due:
            step()

    def _brackets(self) -> tuple[str, str, tuple[str, ...]]:
        if self._depth == 0:
            return "BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",)
        name = f"inner_{self._depth}"
        return f"SAVEPOINT {name}", f"RELEASE {name}", (f"ROLLBACK TO {name}", f"RELEASE {name}")

    def _undo(self, statements: tuple[str, ...]) -> None:
        for statement in statements:
            if self._raw.in_transaction:  # SQLite ends it by itself when the disk is full
                self._raw.execute(statement)

    def _refuse_lost_transaction(self) -> None:
        # Without this, statements after a transaction that SQLite ended by itself would commit one by one.
        if self._depth and not self._raw.in_transaction:
            raise JournalUnavailable("the transaction was ended by SQLite", remedy="It is tried again.")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as exc:
            if (error := translate(exc, self.path)) is None:
                raise
            raise error from exc

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on this connection, of whatever thread."""
        return self._raw.in_transaction

    def changes(self) -> int:
        """Rows changed by this connection so far."""
        return self._raw.total_changes

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file as far as readers allow. Never fails because of a reader."""
        with self._lock, self._translated():
            self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Closes the connection; the last one of all processes empties the write-ahead log."""
        with self._lock:
            self.db.close()


def _open(path: Path, readonly: bool, checkpoints: bool) -> sqlite3.Connection:
    raw = connect(path, readonly=readonly)
    try:
        raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not readonly:
            raw.execute("PRAGMA journal_mode = WAL").fetchone()
            raw.execute(f"PRAGMA journal_size_limit = {_LOG_KEPT}").fetchone()
            raw.execute(f"PRAGMA wal_autocheckpoint = {1000 if checkpoints else 0}").fetchone()
    except BaseException:
        raw.close()
        raise
    return raw


def refuse_damage(raw: sqlite3.Connection, path: Path) -> None:
    """Reads the whole file through. Raises JournalDamaged with SQLite's first finding."""
    found = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, str(found))


def damaged(path: Path, why: str) -> JournalDamaged:
    """The error for a broken journal, with how to restore it."""
    return JournalDamaged("the journal is damaged", where=Place(file=str(path)), why=why, remedy=RESTORE)


def translate(exc: sqlite3.DatabaseError, path: Path) -> JournalError | None:
    """The error a foreign one stands for; None for what is a bug or a constraint the caller asked for."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return damaged(path, str(exc))
    if code in _HELD:
        return JournalUnavailable(
            "the journal is held by another program", where=Place(file=str(path)), why=str(exc),
            remedy="Let that program end, and let other tools only read the journal; work resumes by itself.",
        )  # fmt: skip
    if code in _UNAVAILABLE:
        return JournalUnavailable(
            "the journal cannot be read or written now",
            where=Place(file=str(path)),
            why=f"{exc} ({getattr(exc, 'sqlite_errorname', 'no code')})",
            remedy="Look at free space, mount and permissions of its folder; work resumes by itself.",
        )
    return None
