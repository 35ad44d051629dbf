"""Whether somebody has a file of this machine open for writing: the kernel is asked for a lease, given back at once.

A read lease is refused while anybody has the file open for writing, whoever that is and however long ago it was opened;
no other process has to be visible for that. It is given only for files of the daemon's own user (or to a process with
CAP_LEASE), and means something only where the file system belongs to this machine: on network shares it is refused for
other reasons. What cannot be known is said to be unknown.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct

_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0x01021994,  # tmpfs
        0x794C7630,  # overlay
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
    }
)  # magic numbers of statfs(2)
_STATFS_BYTES = 256  # more than any platform's struct statfs
_libc = ctypes.CDLL(None, use_errno=True)
_by_device: dict[int, bool] = {}


def has_writer(file: int) -> bool | None:
    """Whether the file behind a descriptor opened for reading is open for writing anywhere; None: not known."""
    if not _is_on_local_disk(file):
        return None
    try:
        # The kernel's own signal for a broken lease would end the process; this one is ignored by default.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    return False


def _is_on_local_disk(file: int) -> bool:
    device = os.fstat(file).st_dev
    if device not in _by_device:
        status = ctypes.create_string_buffer(_STATFS_BYTES)
        found = _libc.fstatfs(file, status) == 0
        (kind,) = struct.unpack_from("l", status)
        _by_device[device] = found and kind & 0xFFFFFFFF in _LOCAL
    return _by_device[device]
