"""One daemon per state folder: the lock, and the folder itself.

The lock is the kernel's (`flock`): it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pwd
import stat
from pathlib import Path

from cegid_daemon.errors import AlreadyRunning, ConfigurationError, JournalUnavailable, Place
from cegid_daemon.locks import flock, retried

log = logging.getLogger(__name__)

_WRITABLE_BY_OTHERS = 0o022
_PATIENCE_SECONDS = 0.1  # `is_held` of a command beside us takes the lock for an instant


class StateFolder:
    """The state folder, held by this process alone until `release`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = -1

    def hold(self) -> None:
        """Makes the folder if need be and takes the lock.

        Raises AlreadyRunning if another process holds it, JournalUnavailable if the folder cannot be used,
        ConfigurationError if it is another user's.
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
            keep_from_others(self.folder)
            return os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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


def keep_from_others(folder: Path) -> None:
    """Whoever may write into the folder could swap the journal, and lead us elsewhere by links.

    Takes the right to write from others. Raises ConfigurationError where the folder, a link to it or its spool is not
    what this user made.
    """
    link, found = folder.lstat(), folder.stat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise _foreign(folder, "the link to the state folder", link.st_uid)
    if found.st_uid != os.geteuid():
        raise _foreign(folder, "the state folder", found.st_uid)
    if found.st_mode & _WRITABLE_BY_OTHERS:
        folder.chmod(stat.S_IMODE(found.st_mode) & ~_WRITABLE_BY_OTHERS)
        log.warning("Others could write into the state folder %s; they no longer can. Look at what is in it.", folder)
    spool = folder / "spool"
    if spool.is_symlink():
        raise ConfigurationError(
            "the spool is a link", where=Place(file=str(spool)),
            why=f"all that lies in it is removed at each start, and it leads to {spool.readlink()}",
            remedy="Remove the link; the daemon makes a folder of its own.",
        )  # fmt: skip


def _foreign(folder: Path, what: str, owner: int) -> ConfigurationError:
    me = _name(os.geteuid())
    return ConfigurationError(
        f"{what} belongs to another user", where=Place(file=str(folder)),
        why=f"it is that of {_name(owner)}, who could replace the journal, and the daemon runs as {me}",
        remedy=f"Run it as {_name(owner)}, or give {me} the folder and all that is in it (chown -R).",
    )  # fmt: skip


def _name(user: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
