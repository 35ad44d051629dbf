"""The kernel's rename that refuses to replace: `renameat2(…, RENAME_NOREPLACE)`, which Python does not offer.

File systems that do not know the flag (some network shares) get a look at the new name and then a plain rename. In the
instant between the two, another writer of the same new name would be replaced; a link and an unlink would close that
gap but show both names for a moment, and a receiver that takes the new one would make the old one a false witness.
"""

from __future__ import annotations

import ctypes
import errno
import os

_RENAME_NOREPLACE = 1
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP})

_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def rename_noreplace(name: str, to_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    """Renames within open folders; OSError EEXIST if `to_name` is taken, by anything at all."""
    if not _asked_kernel(name, to_name, src_dir_fd, dst_dir_fd):
        _look_then_rename(name, to_name, src_dir_fd, dst_dir_fd)


def _asked_kernel(name: str, to_name: str, src_dir_fd: int, dst_dir_fd: int) -> bool:
    """False if the C library, the kernel or the file system does not know the flag."""
    if _renameat2 is None:
        return False
    if _renameat2(src_dir_fd, os.fsencode(name), dst_dir_fd, os.fsencode(to_name), _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), name, None, to_name)


def _look_then_rename(name: str, to_name: str, src_dir_fd: int, dst_dir_fd: int) -> None:
    try:
        os.stat(to_name, dir_fd=dst_dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, to_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), to_name)
