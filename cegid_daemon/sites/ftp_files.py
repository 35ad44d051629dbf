"""A drop folder as pyftpdlib's file system: the paths it hands about are absolute, what is done goes by the folder."""

from __future__ import annotations

import os
import stat
from typing import Any

from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.names import Names
from cegid_daemon.sites.pyftpdlib_quietly import AbstractedFS


class DropFiles(AbstractedFS):  # type: ignore[misc]
    """The file system of one session. Raises OSError, which pyftpdlib turns into replies."""

    def __init__(self, root: str, channel: Any) -> None:
        super().__init__(root, channel)
        self._folder: DropFolder = channel.drop_folder()

    def _inner(self, path: str) -> str:
        return path[len(self.root) :] if path.startswith(self.root) else "/"

    def validpath(self, path: str) -> bool:
        """Whether a path is below the root as it is written; links are the drop folder's care."""
        return path == self.root or path.startswith(self.root.rstrip("/") + "/")

    def realpath(self, path: str) -> str:
        """The path itself: nothing below the root is reached through a link."""
        return path

    def open(self, filename: str, mode: str) -> Any:
        """A file to read, or an upload."""
        inner = self._inner(filename)
        if "r" in mode and "+" not in mode:
            fd = self._folder.open(inner)
            return open(filename, "rb", opener=lambda _path, _flags: fd)
        upload = self._folder.upload(inner, resume="w" not in mode)
        if "a" in mode:
            upload.to_end()
        return upload

    def chdir(self, path: str) -> None:
        """Goes to a folder, in the session only."""
        if not self.isdir(path):
            raise FileNotFoundError(2, os.strerror(2), path)
        self.cwd = self.fs2ftp(path)

    def mkdir(self, path: str) -> None:
        """Makes a folder."""
        self._folder.make_folder(self._inner(path))

    def listdir(self, path: str) -> Names:
        """The names in a folder, sorted."""
        return self._folder.names(self._inner(path))

    listdirinfo = listdir

    def rmdir(self, path: str) -> None:
        """Removes an empty folder."""
        self._folder.remove_folder(self._inner(path))

    def remove(self, path: str) -> None:
        """Removes a file."""
        self._folder.remove(self._inner(path))

    def rename(self, src: str, dst: str) -> None:
        """Renames, in place of what has the name: FTP has no other way to replace."""
        self._folder.rename(self._inner(src), self._inner(dst), replace=True)

    def stat(self, path: str) -> os.stat_result:
        """What is known of a file or folder."""
        return self._folder.stat(self._inner(path))

    lstat = stat

    def isfile(self, path: str) -> bool:
        """Whether it is a file, whole or on its way."""
        return self._is(path, stat.S_ISREG)

    def isdir(self, path: str) -> bool:
        """Whether it is a folder."""
        return self._is(path, stat.S_ISDIR)

    def _is(self, path: str, kind: Any) -> bool:
        try:
            return bool(kind(self.stat(path).st_mode))
        except OSError:
            return False

    def islink(self, path: str) -> bool:  # noqa: ARG002
        """Links are not shown."""
        return False

    def getsize(self, path: str) -> int:
        """Bytes of a file, or of what came of it so far."""
        return self.stat(path).st_size

    def getmtime(self, path: str) -> float:
        """When it was written."""
        return self.stat(path).st_mtime

    def lexists(self, path: str) -> bool:
        """Whether a whole file or a folder is there, to be renamed."""
        return self._folder.exists(self._inner(path))

    def get_user_by_uid(self, uid: int) -> str:  # noqa: ARG002
        """Owners of this machine are no client's business."""
        return "drop"

    def get_group_by_gid(self, gid: int) -> str:  # noqa: ARG002
        """As the owner."""
        return "drop"
