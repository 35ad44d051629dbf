"""A small file of a folder changed only if it still is what was read: made, replaced or removed by one of several.

Processes on one machine take turns by a lock on the folder itself; making the file is exclusive everywhere (O_EXCL).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator

from cegid_daemon.locks import flock, retried

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MODE = 0o644  # whoever may look into the folder may read it, whatever the umask
_MOST = 1 << 20  # bytes
_PATIENCE_SECONDS = 2.0


def swap(fd: int, name: str, old: bytes | None, new: bytes | None) -> bool:
    """In the folder `fd`: `old` (None: no file) becomes `new` (None: no file). False if it is not `old`. OSError."""
    with _alone(fd):
        if old is None:
            return new is not None and _make(fd, name, new)
        if _content(fd, name) != old:
            return False
        if new is None:
            os.unlink(name, dir_fd=fd)
            return True
        aside = f"{name}.{secrets.token_hex(4)}"
        _make(fd, aside, new)
        try:
            os.rename(aside, name, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError:
            os.unlink(aside, dir_fd=fd)
            raise
        return True


@contextlib.contextmanager
def _alone(fd: int) -> Iterator[None]:
    """As long as nobody else holds the folder; without that where it cannot be locked, or is held for seconds."""
    locked = False
    with contextlib.suppress(OSError):
        locked = retried(lambda: flock(fd), _PATIENCE_SECONDS)
    try:
        yield
    finally:
        if locked:
            fcntl.flock(fd, fcntl.LOCK_UN)


def _make(fd: int, name: str, body: bytes) -> bool:
    try:
        file = os.open(name, _NEW, _MODE, dir_fd=fd)
    except FileExistsError:
        return False
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fchmod(file, _MODE)
        os.fsync(file)
    except OSError:  # a full disk
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=fd)
        raise
    finally:
        os.close(file)
    return True


def _content(fd: int, name: str) -> bytes | None:
    try:
        file = os.open(name, _READ, dir_fd=fd)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as opened:
        return opened.read(_MOST)
