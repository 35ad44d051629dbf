"""A local folder as an endpoint (`file:/srv/inbox`).

Works through descriptors of folders, opened part by part without following links, so that nobody who can write below
the root can lead a call out of it. Opens nothing but regular files: a symlink, FIFO, socket or device is never opened.
What it says is written is written: the file and the folder that names it are synced. Keeps nothing open between calls
and may be used from several threads at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from cegid_daemon.endpoints.folder_swap import swap
from cegid_daemon.endpoints.leases import has_writer
from cegid_daemon.endpoints.os_errors import translating
from cegid_daemon.endpoints.paths import checked_name, folder_parts
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.endpoints.renaming import rename_noreplace
from cegid_daemon.errors import ConfigurationError, EndpointError, Place, SourceChanged, Transient
from cegid_daemon.model import EndpointSpec, Identity, Listed

CHUNK = 1 << 20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LONG = struct.calcsize("l")
_GET_GENERATION = 2 << 30 | _LONG << 16 | ord("v") << 8 | 1  # FS_IOC_GETVERSION, see ioctl_iflags(2)
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})


class FolderEndpoint:
    """Files in a folder of this machine, or of a share mounted on it."""

    def __init__(self, root: str) -> None:
        """`root` is an absolute path; it need not be there yet."""
        if not root.startswith("/"):
            raise ValueError(f"not an absolute path: {root!r}")
        self.abilities = Abilities()
        self.root = os.path.normpath(root)

    @classmethod
    def of(cls, spec: EndpointSpec) -> FolderEndpoint:
        """From `file:/path` or `file:///path`; the path is taken as it is written, without percent-decoding."""
        path = spec.url.removeprefix("file:")
        path = path.removeprefix("//") if path.startswith("//") else path
        if not path.startswith("/"):
            raise ConfigurationError(
                "a file: url needs an absolute path on this machine",
                where=Place(field=f"endpoint.{spec.name}.url"),
                why=spec.url,
                remedy="Write file:/srv/inbox, or file:inbox relative to the configuration file.",
            )
        return cls(path)

    @property
    def where(self) -> str:
        """`file:` and the absolute path."""
        return f"file:{self.root}"

    def path(self, folder: str, name: str = "") -> str:
        """The path on this machine, for messages and for the folder watcher."""
        return os.path.join(self.root, *folder_parts(folder), *([checked_name(name)] if name else []))  # noqa: PTH118

    def list(self, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:  # noqa: ARG002
        """The entries of `folder`, each as it was at one moment; one that vanishes meanwhile is left out."""
        with self._open(folder) as fd, translating("cannot list the folder", self.path(folder)), os.scandir(fd) as here:
            return [listed for entry in here if (listed := _of_entry(entry)) is not None]

    def stat(self, folder: str, name: str) -> Listed | None:
        """The entry as it is now."""
        checked_name(name)
        with self._open(folder) as fd, translating("cannot look at the file", self.path(folder, name)):
            try:
                return _listed(name, os.stat(name, dir_fd=fd, follow_symlinks=False))
            except FileNotFoundError:
                return None

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[FolderReading]:
        """Opens a regular file; SourceChanged for anything else."""
        checked_name(name)
        path = self.path(folder, name)
        with self._open(folder) as fd:
            file = _open_regular(fd, name, path)
        try:
            yield FolderReading(file, path, start)
        finally:
            os.close(file)

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """Writes and syncs the file; its name outlives the loss of power from the next `sync` of the folder on."""
        checked_name(name)
        path = self.path(folder, name)
        with self._open(folder) as fd:
            with translating("cannot write the file", path):
                file = _fresh(fd, name)
            try:
                identity = _write(file, chunks, path)
            finally:
                os.close(file)
        return identity

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """Renames in one system call."""
        checked_name(name)
        checked_name(to_name)
        what = f"cannot rename the file to {self.path(to_folder, to_name)!r}"
        with self._open(folder) as source, self._open(to_folder) as target, translating(what, self.path(folder, name)):
            if replace:
                os.rename(name, to_name, src_dir_fd=source, dst_dir_fd=target)
            else:
                rename_noreplace(name, to_name, src_dir_fd=source, dst_dir_fd=target)

    def remove(self, folder: str, name: str) -> None:
        """Removes a file."""
        checked_name(name)
        with self._open(folder) as fd, translating("cannot remove the file", self.path(folder, name)):
            os.unlink(name, dir_fd=fd)

    def make_folder(self, folder: str) -> None:
        """Makes what is missing below the root, each new folder synced into its parent."""
        parts = folder_parts(folder)
        for depth, part in enumerate(parts):
            parent = "/".join(parts[:depth])
            with self._open(parent) as fd, translating("cannot make the folder", self.path(parent, part)):
                if _made(fd, part):
                    _sync_folder(fd, self.path(parent))
        with self._open(folder):
            pass

    def make_new_folder(self, folder: str) -> None:
        """Makes one folder below the root."""
        parent, _, part = "/".join(folder_parts(folder)).rpartition("/")
        with self._open(parent) as fd, translating("cannot make the folder", self.path(folder)):
            os.mkdir(part, dir_fd=fd)

    def remove_folder(self, folder: str) -> None:
        """Removes an empty folder below the root."""
        parent, _, part = "/".join(folder_parts(folder)).rpartition("/")
        with self._open(parent) as fd, translating("cannot remove the folder", self.path(folder)):
            os.rmdir(part, dir_fd=fd)

    def swap(self, folder: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        """Under a lock on the folder, and durable when it returns."""
        path = self.path(folder, name)
        with self._open(folder) as fd, translating("cannot write the file", path):
            swapped = swap(fd, name, old, new)
            if swapped:
                _sync_folder(fd, self.path(folder))
            return swapped

    def sync(self, folder: str) -> None:
        """Syncs the folder, so that renames in it survive a loss of power."""
        with self._open(folder) as fd:
            _sync_folder(fd, self.path(folder))

    def mark(self, folder: str) -> str:
        """Number and generation of its inode: a file system may give the number to the next folder it makes."""
        with self._open(folder) as fd, translating("cannot look at the folder", self.path(folder)):
            return f"{os.fstat(fd).st_ino}.{_generation(fd)}"

    def has_writer(self, folder: str, name: str) -> bool | None:
        """As the kernel knows it, of files of our own user on a disk of this machine."""
        try:
            with self._open(folder) as fd:
                file = _open_regular(fd, checked_name(name), self.path(folder, name))
        except (EndpointError, SourceChanged):
            return None  # whoever reads it hears why
        try:
            return has_writer(file)
        finally:
            os.close(file)

    def close(self) -> None:
        """Nothing is open between calls."""

    @contextmanager
    def _open(self, folder: str) -> Iterator[int]:
        """A descriptor of `folder`; the root may be reached through links, nothing below it may."""
        parts = folder_parts(folder)
        with translating("the folder cannot be opened", self.path(folder)):
            fd = os.open(self.root, _FOLDER)
            for part in parts:
                parent, fd = fd, _enter(fd, part)
                os.close(parent)
        try:
            yield fd
        finally:
            os.close(fd)


class FolderReading:
    """An open regular file."""

    def __init__(self, file: int, path: str, start: int) -> None:
        self._file = file
        self._path = path
        self._start = start
        self.identity = _identity(os.fstat(file))

    def __iter__(self) -> Iterator[bytes]:
        """The bytes in chunks of at most 1 MiB; SourceChanged if anything about the file changed meanwhile."""
        given = os.lseek(self._file, self._start, os.SEEK_SET)
        while chunk := self._chunk():
            given += len(chunk)
            if given > self.identity.size:  # it is being written to: whoever writes may never end
                break
            yield chunk
        now = _identity(os.fstat(self._file))
        if now != self.identity or now.size != given:
            raise SourceChanged(
                "the file changed while it was read",
                where=Place(file=self._path),
                remedy="It is read again when it has come to rest.",
            )

    def _chunk(self) -> bytes:
        with translating("cannot read the file", self._path):
            return os.read(self._file, CHUNK)


def _enter(fd: int, part: str) -> int:
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
    except OSError:
        os.close(fd)
        raise


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _listed(name: str, status: os.stat_result) -> Listed:
    return Listed(name, _identity(status), regular=stat.S_ISREG(status.st_mode))


def _of_entry(entry: os.DirEntry[str]) -> Listed | None:
    try:
        return _listed(entry.name, entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None


def _open_regular(fd: int, name: str, path: str) -> int:
    """Looks before it opens (opening a device can do things), and again at what was opened."""
    with translating("cannot read the file", path):
        if stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            try:
                file = os.open(name, _READ, dir_fd=fd)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENXIO}:
                    raise
            else:
                if stat.S_ISREG(os.fstat(file).st_mode):
                    return file
                os.close(file)
    raise SourceChanged(
        "this is no regular file, and nothing else is ever opened",
        where=Place(file=path),
        remedy="Put the file itself here instead of a link, pipe, device or folder.",
    )


def _fresh(fd: int, name: str) -> int:
    """A new file under `name`: never written through what lies there, be it a link or a pipe."""
    try:
        return os.open(name, _NEW, 0o666, dir_fd=fd)
    except FileExistsError:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
    return os.open(name, _NEW, 0o666, dir_fd=fd)


def _write(file: int, chunks: Iterable[bytes], path: str) -> Identity:
    sent = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        sent += len(rest)
        with translating("cannot write the file", path):
            while rest:
                rest = rest[os.write(file, rest) :]
    with translating("cannot write the file", path):
        os.fsync(file)
        identity = _identity(os.fstat(file))
    if identity.size != sent:
        raise Transient(
            f"wrote {sent} bytes, but the file has {identity.size}",
            where=Place(file=path),
            remedy="Check the disk, and whether another program writes this name. It is tried again by itself.",
        )
    return identity


def _generation(fd: int) -> int:
    try:
        return int.from_bytes(fcntl.ioctl(fd, _GET_GENERATION, bytes(_LONG))[:4], sys.byteorder)
    except OSError:  # the file system has none, and then does not give inode numbers again
        return 0


def _made(fd: int, part: str) -> bool:
    try:
        os.mkdir(part, dir_fd=fd)
    except FileExistsError:
        return False
    return True


def _sync_folder(fd: int, path: str) -> None:
    with translating("cannot sync the folder", path):
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:  # some file systems cannot, and need not
                raise
