r"""A user's folder on our own drop site: nothing outside of it can be reached, and a file appears whole or not at all.

Owns the walk to a path (part by part, through descriptors, never through a link) and the uploads: bytes are written
aside, in the folder `.uploading` beside their name, and get the name when the transfer has ended well. What broke off
stays there for a resumption. Says who listens which file is whole. Raises OSError, as both server libraries want it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from cegid_daemon.masks import OWNER_MARK
from cegid_daemon.model import Identity
from cegid_daemon.sites.aside import ASIDE, Aside
from cegid_daemon.sites.names import Names
from cegid_daemon.sites.upload import Upload, Uploads, identity_of

Landed = Callable[[str, str, Identity], None]  # folder (absolute), name, identity of a file that is whole

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INNER = _FOLDER | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ABANDONED = 7 * 86400  # seconds after which what broke off is removed
_TRIES = 5
_BATCH = 128  # names of a listing that are looked at together
_GONE = re.compile(r"\..+-\d+\.gone")  # a file that was taken, kept for a while before it is deleted
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # would end a line of a listing or of a reply


class DropFolder:
    """The folder of one user; paths are the user's (`/inventory/STOCK.csv`), `..` leads no higher than the root."""

    def __init__(self, root: str, uploads: Uploads, landed: Landed, *, max_size: int = 0) -> None:
        """`root` is absolute; `max_size` in bytes, 0 = no bound."""
        self.root = os.path.normpath(root)
        self._uploads = uploads
        self._landed = landed
        self._max_size = max_size

    @staticmethod
    def parts(path: str) -> tuple[str, ...]:
        """The parts of a path below the root. Raises FileNotFoundError for names that are ours, or no names at all."""
        parts: list[str] = []
        for part in path.split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        if _CONTROL.search(path) or any(map(_is_ours, parts)):
            raise _error(errno.ENOENT, path)
        return tuple(parts)

    def names(self, path: str) -> Names:
        """The files and folders of a folder, sorted; links, pipes and uploads under way are not shown."""
        with self._open(self.parts(path)) as fd, os.scandir(fd) as found:
            return self._uploads.listings.count(Names(entry.name for entry in found if _is_shown(entry)))

    def entries(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """As `names`, each with what is known of it when its turn comes. Errors are raised at once."""
        with self._uploads.listings.turn:
            names = self.names(path)
        return self._entries(self.parts(path), names)

    def _entries(self, parts: tuple[str, ...], names: Names) -> Iterator[tuple[str, os.stat_result]]:
        for batch in names.batches(_BATCH):
            with self._open(parts) as fd:
                shown = [(name, _regular_or_folder(fd, name)) for name in batch]
            yield from ((name, status) for name, status in shown if status is not None)

    def stat(self, path: str) -> os.stat_result:
        """A file or folder; the upload under way or broken off where it is newer: a client resumes by its size."""
        parts = self.parts(path)
        if not parts:
            with self._open(parts) as fd:
                return os.fstat(fd)
        with self._open(parts[:-1]) as fd:
            there = _regular_or_folder(fd, parts[-1])
            with _opened_aside(fd) as inner:
                aside = None if inner is None else _regular_or_folder(inner, parts[-1])
        if there is not None and (aside is None or there.st_mtime_ns >= aside.st_mtime_ns):
            return there
        if aside is None:
            raise _error(errno.ENOENT, path)
        return aside

    def exists(self, path: str) -> bool:
        """Whether a whole file or a folder has the name."""
        try:
            parts = self.parts(path)
            with self._open(parts[:-1]) as fd:
                return not parts or _regular_or_folder(fd, parts[-1]) is not None
        except OSError:
            return False

    def open(self, path: str) -> int:
        """A descriptor of a whole, regular file, for reading."""
        parts = self.parts(path)
        if not parts:
            raise _error(errno.EISDIR, path)
        with self._open(parts[:-1]) as fd:
            found = _regular_or_folder(fd, parts[-1])
            if found is None:
                raise _error(errno.ENOENT, path)
            file = os.open(parts[-1], _READ, dir_fd=fd)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
        raise _error(errno.EISDIR, path)

    def upload(self, path: str, *, resume: bool = False, exclusive: bool = False) -> Upload:
        """Begins an upload of a file; `resume` goes on with what broke off, or with the file that is there."""
        parts = self.parts(path)
        if not parts:
            raise _error(errno.EISDIR, path)
        with self._open(parts[:-1]) as fd:
            _refuse_taken(fd, parts[-1], path, exclusive=exclusive)
            folder, aside = os.dup(fd), self._aside(fd)
        where = Aside("/".join((self.root, *parts[:-1])), parts[-1], folder, aside)
        try:
            self._uploads.look_for_old(_inode(folder), lambda: _remove_abandoned(aside))
            return Upload(where, self._uploads, self._landed, resume=resume, max_size=self._max_size)
        except BaseException:
            where.close()
            raise

    def _aside(self, fd: int) -> int:
        for _ in range(_TRIES):  # another upload may just remove it as empty
            with suppress(FileExistsError):
                os.mkdir(ASIDE, 0o700, dir_fd=fd)
            with suppress(FileNotFoundError):
                inner = os.open(ASIDE, _INNER, dir_fd=fd)
                break
        else:
            raise _error(errno.EAGAIN, ASIDE)
        if os.fstat(inner).st_uid == os.geteuid():
            return inner
        os.close(inner)
        raise _error(errno.EACCES, ASIDE)  # another user of this machine would have uploads in hand

    def make_folder(self, path: str) -> None:
        """Makes one folder."""
        parts = self.parts(path)
        with self._open(parts[:-1]) as fd:
            if not parts:
                raise _error(errno.EEXIST, path)
            os.mkdir(parts[-1], dir_fd=fd)

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder, never the root."""
        parts = self.parts(path)
        if not parts:
            raise _error(errno.EACCES, path)
        with self._open(parts) as inner, suppress(OSError):
            os.rmdir(ASIDE, dir_fd=inner)
        with self._open(parts[:-1]) as fd:
            os.rmdir(parts[-1], dir_fd=fd)

    def remove(self, path: str) -> None:
        """Removes a file, and what broke off of an upload under its name."""
        parts = self.parts(path)
        if not parts:
            raise _error(errno.EISDIR, path)
        with self._open(parts[:-1]) as fd:
            broken = False
            with _opened_aside(fd) as inner, suppress(FileNotFoundError):
                if inner is not None:
                    os.unlink(parts[-1], dir_fd=inner)
                    broken = True
            if _regular_or_folder(fd, parts[-1]) is not None:
                os.unlink(parts[-1], dir_fd=fd)
            elif not broken:
                raise _error(errno.ENOENT, path)

    def rename(self, path: str, to: str, *, replace: bool) -> None:
        """Renames a whole file or a folder; FileExistsError where the name is taken and not to be replaced."""
        old, new = self.parts(path), self.parts(to)
        if not old or not new:
            raise _error(errno.EACCES, path)
        with self._open(old[:-1]) as source, self._open(new[:-1]) as target:
            found = _regular_or_folder(source, old[-1])
            if found is None:
                raise _error(errno.ENOENT, path)
            if not replace and _there(target, new[-1]):
                raise _error(errno.EEXIST, to)
            os.rename(old[-1], new[-1], src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)
        if stat.S_ISREG(found.st_mode) and self._uploads.made(found):
            self._landed("/".join((self.root, *new[:-1])), new[-1], identity_of(found))

    @contextmanager
    def _open(self, parts: tuple[str, ...]) -> Iterator[int]:
        """A descriptor of a folder; the root may be reached through links, nothing below it may."""
        fd = os.open(self.root, _FOLDER)
        try:
            for part in parts:
                inner = os.open(part, _INNER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)


def _is_ours(name: str) -> bool:
    """Whether clients are shown nothing of it: uploads under way, files about to be deleted, whose the folder is."""
    return name == ASIDE or name.startswith(OWNER_MARK) or _GONE.fullmatch(name) is not None


def _is_shown(entry: os.DirEntry[str]) -> bool:
    if _is_ours(entry.name) or _CONTROL.search(entry.name):
        return False
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _regular_or_folder(fd: int, name: str) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) else None


def _there(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _opened_aside(fd: int) -> Iterator[int | None]:
    """A descriptor of the folder of broken-off uploads; None if there is none, or a link somebody made."""
    try:
        inner = os.open(ASIDE, _INNER, dir_fd=fd)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        yield None
        return
    try:
        yield inner
    finally:
        os.close(inner)


def _refuse_taken(fd: int, name: str, path: str, *, exclusive: bool) -> None:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if exclusive:
        raise _error(errno.EEXIST, path)
    if not stat.S_ISREG(found.st_mode):
        raise _error(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EACCES, path)


def _inode(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _remove_abandoned(aside: int) -> None:
    oldest = time.time() - _ABANDONED
    with os.scandir(aside) as found:
        old = [entry.name for entry in found if entry.stat(follow_symlinks=False).st_mtime < oldest]
    for name in old:
        with suppress(OSError):
            os.unlink(name, dir_fd=aside)
