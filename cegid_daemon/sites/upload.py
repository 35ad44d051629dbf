"""One upload on our own drop site: written aside, named when it has ended well, kept for a resumption when it broke.

Owns the order of syncs and the rename, and that of two uploads under one name the later wins. Gaps are never written:
what came ahead of its turn waits in memory, so that the size of what broke off is where a resumption goes on.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from cegid_daemon.model import Identity
from cegid_daemon.sites.ahead import Ahead, AheadBudget
from cegid_daemon.sites.aside import Aside, opened
from cegid_daemon.sites.names import ListingBudget

_REMEMBERED = 10_000  # files known to be whole because they came in here
_MAX_RESTING = 10_000  # folders
_QUICK_SECONDS = 0.005  # a look into a folder that takes no longer is no cost
_REST = 100  # times as long as a look took until the next one
_Inode = tuple[int, int]


class Uploads:
    """What is under way on all sites of this process, and which files came in here whole. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[_Inode, Upload] = {}
        self._made: OrderedDict[tuple[int, ...], None] = OrderedDict()
        self._resting: OrderedDict[_Inode, float] = OrderedDict()  # folders, and until when
        self.budget = AheadBudget()
        self.listings = ListingBudget()

    def look_for_old(self, folder: _Inode, look: Callable[[], None]) -> None:
        """Looks for what is too old in a folder; one where so much broke off that it takes long, not at each upload."""
        begun = time.monotonic()
        with self._lock:
            if begun < self._resting.get(folder, 0.0):
                return
        look()
        took = time.monotonic() - begun
        with self._lock:
            self._resting.pop(folder, None)
            if took > _QUICK_SECONDS:
                self._resting[folder] = begun + took * _REST
            while len(self._resting) > _MAX_RESTING:
                self._resting.popitem(last=False)

    def begin(self, upload: Upload, inode: _Inode) -> None:
        """From now on only `upload` writes to the file."""
        with self._lock:
            earlier = self._open.get(inode)
            self._open[inode] = upload
        if earlier is not None:
            earlier.revoke()

    def end(self, upload: Upload, inode: _Inode) -> None:
        """The upload writes no more."""
        with self._lock:
            if self._open.get(inode) is upload:
                del self._open[inode]

    def note(self, status: os.stat_result) -> None:
        """A file came in whole."""
        with self._lock:
            self._made[_key(status)] = None
            while len(self._made) > _REMEMBERED:
                self._made.popitem(last=False)

    def made(self, status: os.stat_result) -> bool:
        """Whether this file, unchanged, came in here whole."""
        with self._lock:
            return _key(status) in self._made


class Upload:
    """A file on its way in. Ends by `commit` or `keep`; anything after that is refused."""

    def __init__(
        self, where: Aside, uploads: Uploads, landed: Callable[[str, str, Identity], None], *, resume: bool,
        max_size: int,
    ) -> None:  # fmt: skip
        """Owns the descriptors of `where` once it is made. Raises OSError."""
        self._where = where
        self._uploads = uploads
        self._landed = landed
        self._max_size = max_size
        self._lock = threading.Lock()
        self._ahead = Ahead(uploads.budget)
        self._position = 0
        self.closed = False
        self.too_large = False
        self._last_byte = b""  # held back from the file
        self.appends = False  # every write goes to the end, whatever its place
        self._revoked = False
        self._file = opened(where, resume=resume)
        status = os.fstat(self._file)
        self._solid = status.st_size
        self._inode = (status.st_dev, status.st_ino)
        uploads.begin(self, self._inode)

    @property
    def name(self) -> str:
        """The path it will have, for logs."""
        return f"{self._where.folder_path}/{self._where.name}"

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._solid

    def revoke(self) -> None:
        """A later upload goes on with the same file: this one may no longer touch it."""
        with self._lock:
            self._revoked = True

    def seek(self, position: int) -> None:
        """The next `write` begins there; not beyond what was written."""
        if position > self._solid:
            raise OSError(errno.EINVAL, "beyond the end of the file")
        self._position = position
        if position < self._solid:
            self.truncate(position)

    def write(self, chunk: bytes) -> int:
        """Writes the next bytes."""
        self.write_at(self._position, chunk)
        self._position += len(chunk)
        return len(chunk)

    def to_end(self) -> None:
        """The next `write` appends."""
        self._position = self._solid

    def write_at(self, offset: int, chunk: bytes) -> None:
        """Writes bytes at their place; what comes ahead of its turn is kept back."""
        with self._lock:
            self._refuse_over()
            if self._max_size and offset + len(chunk) > self._max_size:
                self.too_large = True
                raise OSError(errno.EFBIG, f"larger than the site takes ({self._max_size} bytes)")
            if offset > self._solid:
                self._ahead.keep(offset, chunk)
                return
            self._put(offset, chunk)
            while (piece := self._ahead.take(self._solid)) is not None:
                self._put(self._solid, piece)

    def _put(self, offset: int, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            written = os.pwrite(self._file, rest, offset)
            offset += written
            rest = rest[written:]
        self._solid = max(self._solid, offset)

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes that were written."""
        with self._lock:
            self._refuse_over()
            return os.pread(self._file, size, offset)

    def truncate(self, size: int) -> None:
        """Cuts what was written; a file cannot be made longer by it."""
        with self._lock:
            self._refuse_over()
            if size > self._solid:
                raise OSError(errno.EINVAL, "a file is made longer by writing only")
            os.ftruncate(self._file, size)
            self._solid = size

    def stat(self) -> os.stat_result:
        """What was written so far, as a file."""
        with self._lock:
            self._refuse_over()
            return os.fstat(self._file)

    def set_times(self, accessed: float, modified: float) -> None:
        """The times the file will have; they are set when it is whole."""
        with self._lock:
            self._refuse_over()
            os.utime(self._file, (accessed, modified))

    def sync(self) -> None:
        """Makes what was written durable."""
        with self._lock:
            self._refuse_over()
            os.fsync(self._file)

    def hold_back(self) -> None:
        """Until `commit` the file lacks its last byte: who resumes by sizes must not find it complete."""
        with self._lock:
            self._refuse_over()
            if self._solid and not self._last_byte:
                last = self._solid - 1
                self._last_byte = os.pread(self._file, 1, last)
                os.ftruncate(self._file, last)

    def commit(self) -> None:
        """The transfer ended well: the file, durable, gets its name in one step. Else OSError, and it is kept."""
        try:
            with self._lock:
                status = self._named()
        except OSError:
            self.keep()
            raise
        self._finish()
        self._landed(self._where.folder_path, self._where.name, identity_of(status))

    def _named(self) -> os.stat_result:
        self._refuse_over()
        if self._ahead:
            raise OSError(errno.EIO, "a part of the file did not come")
        if self._last_byte:
            self._put(self._solid - 1, self._last_byte)
        os.fsync(self._file)
        status = os.fstat(self._file)
        name, folder, aside = self._where.name, self._where.folder, self._where.aside
        here = os.stat(name, dir_fd=aside, follow_symlinks=False)
        if (here.st_dev, here.st_ino) != self._inode:
            raise OSError(errno.ESTALE, "a later upload took its place")
        self._uploads.note(status)
        os.rename(name, name, src_dir_fd=aside, dst_dir_fd=folder)
        os.fsync(folder)
        return status

    def keep(self) -> None:
        """The transfer broke off: what came stays aside, for a resumption."""
        if not self.closed:
            self._finish()

    def discard(self) -> None:
        """The transfer cannot end well: nothing of it stays."""
        with self._lock, suppress(OSError):
            here = os.stat(self._where.name, dir_fd=self._where.aside, follow_symlinks=False)
            if (here.st_dev, here.st_ino) == self._inode and not self._revoked:
                os.unlink(self._where.name, dir_fd=self._where.aside)
        self.keep()

    close = keep  # a file object that is closed by nobody who knows better was broken off

    def _finish(self) -> None:
        with self._lock:
            self.closed = True
            self._ahead.clear()
            os.close(self._file)
        self._uploads.end(self, self._inode)
        self._where.close()

    def _refuse_over(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "the upload has ended")
        if self._revoked:
            raise OSError(errno.ESTALE, "a later upload took its place")


def identity_of(status: os.stat_result) -> Identity:
    """The identity as the folder endpoint sees it."""
    return Identity(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _key(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
