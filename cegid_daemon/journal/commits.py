"""What surrounds every commit of a connection that writes: the lock, the count, the marker, and the checkpoints.

SQLite's own checkpoints are off: they would run inside a commit, without the lock that keeps the two apart
(`wal_lock`). Instead the connection of the process that carries messages makes one after so many commits, or when the
write-ahead log grew by so much. Owns the table `journal_progress` and the marker. The connection calls; nothing here
takes a lock of threads.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from ulid import ULID

from cegid_daemon.errors import JournalUnavailable, Place
from cegid_daemon.journal.marker import Marker, Progress
from cegid_daemon.journal.wal_lock import WAIT_SECONDS, WalLock

log = logging.getLogger(__name__)

TAKEN_BACK = "journal_taken_back"  # the key in `about`: what `continuity` reports
_COMMITS_BETWEEN = 100  # about a thousand pages
_GROWTH_BYTES = 8 << 20
_LIMIT_BYTES = 32 << 20  # a write-ahead log that is larger is cut back to nothing
_LOOKS = 5  # at the marker before giving up
_WAIT_SECONDS = 2.0
_CLOSE_WAIT_SECONDS = 5.0  # who holds the lock for longer has the journal open: we are not the last, nothing is moved
_READERS_WAIT_MS = 1000
_CUT_PAUSE_SECONDS = 30.0  # between two checkpoints that wait for readers: writers wait meanwhile
_PROGRESS = "SELECT generation, commits FROM journal_progress"


class Commits:
    """The commits of one connection. Raises JournalUnavailable."""

    def __init__(self, raw: sqlite3.Connection, path: Path, *, checkpoints: bool) -> None:
        self._raw = raw
        self._path = path
        self._wal = path.with_name(f"{path.name}-wal")
        self._checkpoints = checkpoints
        self._since = 0  # commits since the last checkpoint
        self._wal_bytes = self.wal_bytes()  # at the last checkpoint
        self._cut_at = 0.0  # monotonic
        self._log = 0  # its inode: it is there from the first commit on until the last connection closes
        self._counted: Progress | None = None
        self._marker = Marker(path)
        self._lock = WalLock(self._marker.descriptor)

    def begin(self) -> None:
        """Before a transaction begins: no checkpoint runs until it has ended."""
        if not self._locked(WalLock.share, WAIT_SECONDS):
            raise JournalUnavailable(
                "the journal is held by another process of cegid-daemon", where=Place(file=str(self._path)),
                why=f"a checkpoint of its write-ahead log took longer than {WAIT_SECONDS:.0f} s: the disk is slow, or "
                "that process was stopped",
                remedy=f"`fuser -v {self._marker.path}` names it. If `ps` shows it in state T, let it go on "
                "(`kill -CONT`) or end it; nothing is lost.",
            )  # fmt: skip

    def _locked(self, take: Callable[[WalLock, float], bool], seconds: float) -> bool:
        """Takes the lock on the marker that is in its place: of one that was removed, others would not know."""
        for _ in range(_LOOKS):
            try:
                if not take(self._lock, seconds):
                    return False
            except OSError as exc:
                raise JournalUnavailable(
                    "the journal cannot be locked", where=Place(file=str(self._marker.path)), why=str(exc),
                    remedy="Keep the state folder on a local disk: its file system must know locks.",
                ) from exc  # fmt: skip
            if self._marker.is_in_place():
                return True
            self._lock.release()
            self._replace_marker()
        raise JournalUnavailable(
            "the file beside the journal is removed again and again", where=Place(file=str(self._marker.path)),
            remedy="Find what removes it: the daemon's processes share a lock on it.",
        )  # fmt: skip

    def _replace_marker(self) -> None:
        """Goes on with the marker that is in place now, or makes one."""
        marker = Marker(self._path)
        if marker.progress() is None:
            marker.begin(Progress(*self._raw.execute(_PROGRESS).fetchone()))
            log.warning("%s was removed, and is made again: leave it where it is", marker.path)
        self._marker.close()
        self._marker, self._lock = marker, WalLock(marker.descriptor)

    def count(self) -> None:
        """The last statement of a transaction."""
        sql = "UPDATE journal_progress SET commits = commits + 1 RETURNING generation, commits"
        self._counted = Progress(*self._raw.execute(sql).fetchall()[0])

    def end(self, *, committed: bool) -> None:
        """After a transaction ended."""
        if committed and self._counted is not None:
            self._marker.advance(self._counted)
        self._counted = None
        self._since += committed
        if committed and not self._log:
            self._log = self._inode()
        self._lock.release()

    # -- checkpoints ------------------------------------------------------------------------------------------------

    def checkpoint_if_due(self) -> None:
        """Called between transactions."""
        if self._is_due():
            self.checkpoint()

    def _is_due(self) -> bool:
        """A command leaves it to the daemon beside it, but lets the log not grow without bound where there is none."""
        if self._checkpoints and self._since >= _COMMITS_BETWEEN:
            return True
        most = self._wal_bytes + _GROWTH_BYTES if self._checkpoints else 2 * _LIMIT_BYTES
        return self._since % 8 == 7 and self.wal_bytes() > most

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file as far as readers allow. Never fails because of a reader.

        Where another process is amid a long transaction it is left to the next call, unless the log is large by now.
        """
        if not self._locked(WalLock.exclude, WAIT_SECONDS if self.wal_bytes() > _LIMIT_BYTES else _WAIT_SECONDS):
            return
        try:
            self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if self.wal_bytes() > _LIMIT_BYTES and time.monotonic() >= self._cut_at:
                self._cut()
        finally:
            self._lock.release()
        self._since, self._wal_bytes = 0, self.wal_bytes()

    def _cut(self) -> None:
        """Waits a moment for readers of older states, so that the log can begin anew, empty."""
        before = self._raw.execute("PRAGMA busy_timeout").fetchone()[0]
        self._raw.execute(f"PRAGMA busy_timeout = {_READERS_WAIT_MS}").fetchone()
        try:
            self._raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self.wal_bytes():
                self._cut_at = time.monotonic() + _CUT_PAUSE_SECONDS
        finally:
            self._raw.execute(f"PRAGMA busy_timeout = {before}").fetchone()

    def wal_bytes(self) -> int:
        """How large the write-ahead log is; what was moved already counts until it is written over."""
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0

    def log_is_missing(self) -> bool:
        """Whether the write-ahead log was removed by somebody else; whoever looked since may have made another."""
        return self._log != 0 and self._inode() != self._log

    def _inode(self) -> int:
        try:
            return self._wal.stat().st_ino
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Around the close of the connection: that of the last one is a checkpoint."""
        with contextlib.suppress(JournalUnavailable):
            self._locked(WalLock.exclude, _CLOSE_WAIT_SECONDS)
        try:
            yield
        finally:
            self._marker.close()

    # -- continuity -------------------------------------------------------------------------------------------------

    def was_taken_back(self) -> bool:
        """Whether the journal has not come as far as its marker remembers. A new marker learns how far it has."""
        remembered = self._marker.progress()  # first: what is remembered is in the journal by then
        found = Progress(*self._raw.execute(_PROGRESS).fetchone())
        if remembered is None:
            self._marker.begin(found)
            return False
        return remembered.generation != found.generation or remembered.commits > found.commits

    def begin_again(self) -> None:
        """Goes on under a new generation, and keeps for the report what is known. In a transaction of the caller."""
        remembered = self._marker.progress()
        found = Progress(*self._raw.execute(_PROGRESS).fetchone())
        if remembered is None or not self.was_taken_back():
            return  # another process was faster
        known = {
            "remembered": asdict(remembered), "found": asdict(found),
            "remembered_at": self._marker.modified_at(), "wal": self.wal_bytes() > 0,
        }  # fmt: skip
        self._raw.execute("INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", (TAKEN_BACK, json.dumps(known)))
        self._raw.execute("UPDATE journal_progress SET generation = ?", (str(ULID()),))
