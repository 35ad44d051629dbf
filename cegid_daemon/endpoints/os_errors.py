"""What the operating system's error numbers mean to whoever waits for a file, and what a person does about each.

Owns the table from errno to the error tree. What heals by itself once somebody frees space, mounts a disk or grants a
right is Transient: nothing is lost by waiting. What another try cannot change is Permanent.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cegid_daemon.errors import Absent, EndpointError, Exists, Permanent, Place, Transient

_GOES_ON = "It goes on by itself afterwards."
_SHARE = f"Check the disk or network share behind this path. {_GOES_ON}"
_RIGHTS = f"Give the daemon's user the right to read and write here (chown, chmod, ReadWritePaths=). {_GOES_ON}"
_SCARCE = f"The machine is short of memory or open files; raise LimitNOFILE= or free some. {_GOES_ON}"
_NO_FOLDER = "A folder is needed here, and links below the endpoint's url are not followed: put the real path in url."

_MEANING: dict[int, tuple[type[EndpointError], str]] = {
    errno.ENOENT: (Absent, ""),
    errno.EEXIST: (Exists, ""),
    errno.EISDIR: (Exists, "A folder lies under this name; move it away."),
    errno.ENOTEMPTY: (Exists, "A folder lies under this name; move it away."),
    errno.ENOSPC: (Transient, f"The disk is full: free space. {_GOES_ON}"),
    errno.EDQUOT: (Transient, f"The disk quota is used up: free space or raise it. {_GOES_ON}"),
    errno.EROFS: (Transient, f"The disk is read-only: mount it writable, or allow it in ReadWritePaths=. {_GOES_ON}"),
    errno.EACCES: (Transient, _RIGHTS),
    errno.EPERM: (Transient, _RIGHTS),
    errno.EIO: (Transient, _SHARE),
    errno.ESTALE: (Transient, _SHARE),
    errno.ENODEV: (Transient, _SHARE),
    errno.EHOSTDOWN: (Transient, _SHARE),
    errno.ETIMEDOUT: (Transient, _SHARE),
    errno.ENOTCONN: (Transient, _SHARE),
    errno.EMFILE: (Transient, _SCARCE),
    errno.ENFILE: (Transient, _SCARCE),
    errno.ENOMEM: (Transient, _SCARCE),
    errno.ENOTDIR: (Transient, f"{_NO_FOLDER} {_GOES_ON}"),
    errno.ELOOP: (Permanent, _NO_FOLDER),
    errno.ENAMETOOLONG: (Permanent, "This disk takes names of at most 255 bytes: use a shorter one."),
    errno.EXDEV: (Permanent, "Both folders must be on one disk, or the rename cannot be atomic."),
    errno.EFBIG: (Permanent, "The file is larger than this disk allows."),
}

_PLACE_FAILS = frozenset({  # the share or the machine is at fault, no single file
    errno.ESTALE, errno.ENODEV, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ENOTCONN,
    errno.EMFILE, errno.ENFILE, errno.ENOMEM,
})  # fmt: skip


def translated(error: OSError, what: str, path: str) -> EndpointError:
    """`error` as the error tree says it: what was tried, on which path, why it failed, what to do."""
    kind, remedy = _MEANING.get(error.errno or 0, (Transient, "It is tried again by itself."))
    found = kind(what, where=Place(file=path), why=error.strerror or str(error), remedy=remedy)
    return found.by_place() if isinstance(found, Transient) and error.errno in _PLACE_FAILS else found


@contextmanager
def translating(what: str, path: str) -> Iterator[None]:
    """Translates every OSError of the block."""
    try:
        yield
    except OSError as error:
        raise translated(error, what, path) from error
