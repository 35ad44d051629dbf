"""One connection to the journal file: how it is opened, checked, locked, and how its failures are told.

Owns the pragmas, the one transaction helper and how a journal is opened. What surrounds each commit is the affair of
`commits`, what a failure means that of `failures`. A journal appears whole or not at all, is never made anew where one
was before, and a broken one is never written to. Knows no table but the list of applied migrations.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from cegid_daemon.errors import JournalError, JournalUnavailable, Place
from cegid_daemon.journal import birth
from cegid_daemon.journal.commits import Commits
from cegid_daemon.journal.failures import refuse_damage, translate
from cegid_daemon.journal.reader import connect
from cegid_daemon.journal.upgrades import migrations

Parameters = Sequence[Any] | Mapping[str, Any]
_OPENING = threading.Lock()
_OPEN: Counter[tuple[int, int]] = Counter()  # connections of this process by device and inode of the file
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
        self._commits: Commits | None = None
        if not readonly:
            birth.make_unless_there(path)
        self._file: tuple[int, int] | None = None
        self._file, self._raw = self._open()
        self.db = Database(self._raw, execute_plugins=False, recursive_triggers=False)
        try:
            pending = 0 if examined else self._examine()
            if not readonly:
                self._begin_to_write(pending, checkpoints)
        except BaseException:
            self.close()
            raise

    def _open(self) -> tuple[tuple[int, int], sqlite3.Connection]:
        """The file's device and inode, and a connection to it.

        Only where this process has no other: closing the file after the look at its first bytes would end the locks
        that others hold on it (POSIX locks belong to the process), and another program would think that it is alone.
        """
        with _OPENING, self._translated():
            if not self._is_open_here():
                birth.refuse_what_is_no_journal(self.path)
            raw = _open(self.path, self.readonly)
            found = self.path.stat()
            _OPEN[found.st_dev, found.st_ino] += 1
        return (found.st_dev, found.st_ino), raw

    def _is_open_here(self) -> bool:
        try:
            found = self.path.stat()
        except OSError:
            return False
        return _OPEN[found.st_dev, found.st_ino] > 0

    def _examine(self) -> int:
        """How many migrations the journal lacks. Raises what is wrong with it."""
        with self._translated():
            if self.path.stat().st_size <= _CHECKED_WHOLE:
                refuse_damage(self._raw, self.path)
            pending = birth.pending_migrations(self.db, self.path)
        if pending and self.readonly:
            raise JournalError(
                f"the journal lacks {pending} change(s) of its tables",
                where=Place(file=str(self.path)),
                remedy="Start the daemon of this version once; it brings the journal up to date.",
            )
        return pending

    def _begin_to_write(self, pending: int, checkpoints: bool) -> None:
        birth.keep_from_others(self.path)
        self._commits = Commits(self._raw, self.path, checkpoints=checkpoints)
        if pending:
            with self.transaction():
                migrations.apply(self.db)
        with self._translated():
            taken_back = self._commits.was_taken_back()
        if taken_back:
            with self.transaction():
                self._commits.begin_again()

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
            with self._alone() if self._depth == 0 else nullcontext():
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
            if self._depth == 0:
                with self._counted():
                    yield
            else:
                with self._bracketed(*self._savepoint()):
                    yield
        self.after_commit()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """The outermost transaction."""
        if self._commits is None:
            raise JournalError("this connection only reads", where=Place(file=str(self.path)))
        self._commits.begin()
        committed = False
        try:
            with self._bracketed("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",)):
                yield
                self._refuse_lost_transaction()
                self._commits.count()
            committed = True
        finally:
            self._commits.end(committed=committed)
        self._commits.checkpoint_if_due()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Around a statement that is a transaction of its own."""
        if self._commits is None:
            yield
            return
        self._commits.begin()
        try:
            yield
        finally:
            self._commits.end(committed=True)
        self._commits.checkpoint_if_due()

    @contextmanager
    def _bracketed(self, begin: str, commit: str, undo: tuple[str, ...]) -> Iterator[None]:
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

    def after_commit(self, *work: Callable[[], None]) -> None:
        """Does `work` once the open transaction of this thread is committed, never if it is undone; at once outside."""
        with self._lock:
            self._deferred += work
            if self._depth:
                return
            due, self._deferred = self._deferred, []
        for step in due:
            step()

    def _savepoint(self) -> tuple[str, str, tuple[str, ...]]:
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
        """Moves the write-ahead log into the file as far as readers allow; not inside a transaction."""
        with self._lock, self._translated():
            if self._commits is not None and self._depth == 0:
                self._commits.checkpoint()

    def give_back_pages(self, most: int) -> None:
        """Gives at most so many free pages back to the disk."""
        with self._lock, self._translated(), self._alone():
            self._raw.execute(f"PRAGMA incremental_vacuum({most})").fetchall()

    def wal_bytes(self) -> int:
        """How large the write-ahead log is; 0 where this connection only reads."""
        return self._commits.wal_bytes() if self._commits is not None else 0

    def log_is_missing(self) -> bool:
        """Whether somebody removed the write-ahead log that this connection writes."""
        return self._commits is not None and self._commits.log_is_missing()

    def close(self) -> None:
        """Closes the connection; the last one of all processes empties the write-ahead log."""
        with self._lock, self._commits.closing() if self._commits is not None else nullcontext(), _OPENING:
            self.db.close()
            if self._file is not None:
                _OPEN[self._file] -= 1
                self._file = None


def _open(path: Path, readonly: bool) -> sqlite3.Connection:
    raw = connect(path, readonly=readonly)
    try:
        raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not readonly:
            raw.execute("PRAGMA journal_mode = WAL").fetchone()
            raw.execute("PRAGMA wal_autocheckpoint = 0").fetchone()  # `commits` makes them
    except BaseException:
        raw.close()
        raise
    return raw
