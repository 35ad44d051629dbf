"""One daemon per state folder: the lock, and the folder itself.

The lock is the kernel's (`flock`): it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from cegid_daemon.errors import AlreadyRunning, JournalUnavailable, Place
from cegid_daemon.locks import flock, retried

_PATIENCE_SECONDS = 0.1  # `is_held` of a command beside us takes the lock for an instant


class StateFolder:
    """The state folder, held by this process alone until `release`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = -1

    def hold(self) -> None:
        """Makes the folder if need be and takes the lock.

        Raises AlreadyRunning if another process holds it, JournalUnavailable if the folder cannot be used.
        """
        descriptor = self._opened()
        if not retried(lambda: flock(descriptor), _PATIENCE_SECONDS):
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise AlreadyRunning(
                "another cegid-daemon works with this state folder",
                where=Place(file=str(self.folder)),
                why=f"process {holder or 'unknown'} holds its lock",
                remedy="Use that one, or stop it first (`systemctl stop cegid-daemon`).",
            )
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # who holds it is good to know; on a full disk the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _opened(self) -> int:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise JournalUnavailable(
                "the state folder cannot be used", where=Place(file=str(self.folder)), why=str(exc),
                remedy="Give the daemon's user a state folder it may write to, with free space.",
            ) from exc  # fmt: skip

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def is_held(self) -> bool:
        """Whether some process holds the lock now."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)
