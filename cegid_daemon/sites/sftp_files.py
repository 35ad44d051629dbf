"""A drop folder as asyncssh's SFTP server; an upload is whole when its client has closed the file, not before.

Owns the translation of SFTP's requests. A file that is closed because the session ended was broken off.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncssh
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from cegid_daemon.logs import printable
from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.handles import HandleBounds
from cegid_daemon.sites.sftp_requests import MAX_READ, Requests
from cegid_daemon.sites.upload import Upload

log = logging.getLogger(__name__)

_WRITE = asyncssh.FXF_WRITE | asyncssh.FXF_APPEND
_LAST_OFFSET = (1 << 63) - 1  # of a file


class Session(SSHServerStreamSession[bytes]):
    """A session that speaks SFTP and nothing else, and knows when its client has gone."""

    def __init__(
        self, folder: DropFolder, user: str, bounds: HandleBounds, active: Callable[[], None], over: Callable[[], None]
    ) -> None:
        """`active` is called for each request, `over` when the session has ended."""
        super().__init__(None)
        self._folder = folder
        self._user = user
        self._bounds = bounds
        self._active = active
        self._over = over
        self.ended = False
        self.left = False  # the client ended it in good order, and waits for a farewell

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Answers requests until the session ends."""
        channel: Any = self._chan
        channel.set_encoding(None)
        self._encoding = None
        server = DropServer(channel, self._folder, self._user, self, self._active)
        reader, writer = SSHReader[bytes](self, channel), SSHWriter[bytes](self, channel)
        requests = Requests(server, reader, writer, user=self._user, bounds=self._bounds, active=self._active)
        channel.get_connection().create_task(requests.serve(server.abandon), reader.logger)

    def eof_received(self) -> bool:
        """The client sends no more."""
        self.ended = self.left = True
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection broke or was ended."""
        self.ended, self.left = True, False
        super().connection_lost(exc)
        self._over()


class _Download:
    """A file opened for reading."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


class DropServer(asyncssh.SFTPServer):
    """SFTP within one folder. Raises OSError, which asyncssh turns into statuses."""

    def __init__(
        self, channel: Any, folder: DropFolder, user: str, session: Session, active: Callable[[], None]
    ) -> None:
        super().__init__(channel)
        self._folder = folder
        self._user = user
        self._session = session
        self._active = active

    def exit(self) -> None:
        """The session is over. scp takes one that ends without a word for a failure."""
        if self._session.left:
            self.channel.exit(0)

    # -- files ------------------------------------------------------------------------------------------------------

    async def open(self, path: bytes, pflags: int, attrs: Any) -> Upload | _Download:  # noqa: ARG002
        """A file to read, or an upload; without TRUNC it goes on with what is there."""
        name = os.fsdecode(path)
        if not pflags & _WRITE:
            return _Download(self._folder.open(name))
        if not pflags & asyncssh.FXF_CREAT:
            self._folder.stat(name)
        upload: Upload = await _aside(
            lambda: self._folder.upload(
                name, resume=not pflags & asyncssh.FXF_TRUNC, exclusive=bool(pflags & asyncssh.FXF_EXCL)
            )
        )
        if pflags & asyncssh.FXF_APPEND:
            upload.appends = True
        return upload

    async def close(self, file: object) -> None:
        """A client closed a file: an upload is whole. A session that ended closes what is left: broken off."""
        if not isinstance(file, Upload):
            os.close(_download(file).fd)
            return
        if self._session.ended:
            file.keep()
            log.info("An upload of %s broke off and can be resumed.", printable(file.name))
        elif file.too_large:
            file.discard()
        else:
            await _aside(file.commit)
            log.info("%s came in from %s.", printable(file.name), self._user)

    @staticmethod
    def abandon(file: object) -> None:
        """Nobody closes this file any more, as the session was cut off."""
        if isinstance(file, Upload):
            file.keep()
        elif isinstance(file, _Download):
            os.close(file.fd)

    def read(self, file: object, offset: int, size: int) -> bytes:
        """Bytes of a file, so many at most that a client cannot make us hold a file in memory."""
        if offset > _LAST_OFFSET:
            return b""
        size = min(size, MAX_READ)
        return file.read_at(offset, size) if isinstance(file, Upload) else os.pread(_download(file).fd, size, offset)

    def write(self, file: object, offset: int, data: bytes) -> int:
        """Bytes of an upload; one that appends takes them at its end."""
        upload = _upload(file)
        upload.write_at(upload.size if upload.appends else offset, data)
        return len(data)

    def fstat(self, file: object) -> os.stat_result:
        """What is known of an open file."""
        return file.stat() if isinstance(file, Upload) else os.fstat(_download(file).fd)

    def fsetstat(self, file: object, attrs: Any) -> None:
        """Sets size and times; rights and owners are the site's own."""
        upload = _upload(file)
        if attrs.size is not None:
            upload.truncate(attrs.size)
        if attrs.atime is not None and attrs.mtime is not None:
            upload.set_times(attrs.atime, attrs.mtime)

    async def fsync(self, file: object) -> None:
        """Makes durable what was written."""
        await _aside(_upload(file).sync)

    # -- names ------------------------------------------------------------------------------------------------------

    async def scandir(self, path: bytes) -> AsyncIterator[Any]:
        """The entries of a folder."""
        for name, status in await _aside(lambda: self._folder.entries(os.fsdecode(path))):
            self._active()
            yield asyncssh.SFTPName(os.fsencode(name), attrs=asyncssh.SFTPAttrs.from_local(status))

    def stat(self, path: bytes) -> os.stat_result:
        """What is known of a name; links are not shown."""
        return self._folder.stat(os.fsdecode(path))

    lstat = stat

    def setstat(self, path: bytes, attrs: Any) -> None:
        """Agrees and does nothing: a time set after the transfer would make another file of one just taken."""
        self._folder.stat(os.fsdecode(path))
        if attrs.size is not None:
            raise OSError(errno.EACCES, "a file is cut only while it is written")

    lsetstat = setstat

    def remove(self, path: bytes) -> None:
        """Removes a file."""
        self._folder.remove(os.fsdecode(path))

    def mkdir(self, path: bytes, attrs: Any) -> None:  # noqa: ARG002
        """Makes a folder."""
        self._folder.make_folder(os.fsdecode(path))

    def rmdir(self, path: bytes) -> None:
        """Removes an empty folder."""
        self._folder.remove_folder(os.fsdecode(path))

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Renames where the name is free."""
        self._folder.rename(os.fsdecode(oldpath), os.fsdecode(newpath), replace=False)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Renames in place of what has the name."""
        self._folder.rename(os.fsdecode(oldpath), os.fsdecode(newpath), replace=True)

    def realpath(self, path: bytes) -> bytes:
        """The path as the user sees it."""
        return os.fsencode("/" + "/".join(self._folder.parts(os.fsdecode(path))))

    def statvfs(self, path: bytes) -> os.statvfs_result:  # noqa: ARG002
        """The room that is left."""
        return os.statvfs(self._folder.root)

    def fstatvfs(self, file: Any) -> os.statvfs_result:  # noqa: ARG002
        """The room that is left."""
        return os.statvfs(self._folder.root)

    def readlink(self, path: bytes) -> bytes:
        """There are no links."""
        raise _no_links(path)

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:  # noqa: ARG002
        """There are no links."""
        raise _no_links(newpath)

    def link(self, oldpath: bytes, newpath: bytes) -> None:  # noqa: ARG002
        """There are no links."""
        raise _no_links(newpath)


async def _aside(work: Callable[[], Any]) -> Any:
    """Waits for the disk without holding up the other sessions."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _download(file: object) -> _Download:
    if isinstance(file, _Download):
        return file
    raise OSError(errno.EBADF, "the file was opened for writing")


def _upload(file: object) -> Upload:
    if isinstance(file, Upload):
        return file
    raise OSError(errno.EBADF, "the file was opened for reading")


def _no_links(path: bytes) -> OSError:
    return OSError(errno.EACCES, "links are not made here", os.fsdecode(path))
