"""The lock that keeps commits and checkpoints of the journal apart, across threads, connections and processes.

SQLite from 3.7.0 to 3.51.2 can corrupt a database where one connection's checkpoint meets another's commit (mended in
3.51.3, 3.50.7 and 3.44.6; https://sqlite.org/wal.html#walresetbug). Commits share this lock, a checkpoint holds it
alone. A checkpoint that waits keeps new commits from beginning, so it always gets its turn. Every wait is bounded. The
locks belong to the open file (OFD locks): the kernel releases them however a process ends, and threads of one process
exclude each other.
"""

from __future__ import annotations

import fcntl
import struct
import time

from cegid_daemon.locks import retried

WAIT_SECONDS = 30.0  # as long as SQLite itself waits for another writer
_QUEUE, _COMMITS = 1 << 30, (1 << 30) + 1  # bytes of the file, behind anything that is written in it


def _request(kind: int, at: int, length: int = 1) -> bytes:
    """A `struct flock` for bytes of the file."""
    return struct.pack("hhqqi4x", kind, 0, at, length, 0)


_HOLD_QUEUE, _LEAVE_QUEUE = _request(fcntl.F_WRLCK, _QUEUE), _request(fcntl.F_UNLCK, _QUEUE)
_EXCLUDE = _request(fcntl.F_WRLCK, _COMMITS)
_SHARE_BOTH, _RELEASE_BOTH = _request(fcntl.F_RDLCK, _QUEUE, 2), _request(fcntl.F_UNLCK, _QUEUE, 2)


class WalLock:
    """The lock as one connection holds it; `descriptor` is an open file of its own, readable and writable."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def share(self, seconds: float = WAIT_SECONDS) -> bool:
        """Begins a commit; any number of connections may. False if a checkpoint did not end within `seconds`."""
        return self._try_share() or retried(self._try_share, seconds)

    def exclude(self, seconds: float = WAIT_SECONDS) -> bool:
        """Begins a checkpoint. False if the commits under way did not end within `seconds`; nothing is held then."""
        deadline = time.monotonic() + seconds
        if not retried(lambda: self._lock(_HOLD_QUEUE), seconds):
            return False
        if retried(lambda: self._lock(_EXCLUDE), deadline - time.monotonic()):
            return True
        self.release()
        return False

    def release(self) -> None:
        """Ends whatever was begun."""
        self._lock(_RELEASE_BOTH)

    def _try_share(self) -> bool:
        if not self._lock(_SHARE_BOTH):
            return False
        return self._lock(_LEAVE_QUEUE)

    def _lock(self, request: bytes) -> bool:
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, request)
        except BlockingIOError:
            return False
        return True
