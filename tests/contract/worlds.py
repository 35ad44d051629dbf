"""The other side of each endpoint: what senders and receivers do, apart from the code under test.

A `World` holds an endpoint and the hands to lay files where it looks and to see what it left there.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Protocol

from cegid_daemon.endpoints import Endpoint
from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.endpoints.memory import MemoryEndpoint


class World(Protocol):
    """An endpoint and the far side of it. Folders are relative to the endpoint's root."""

    endpoint: Endpoint
    unsayable: str  # characters that names cannot have, by the protocol or by the server
    shows_links: bool  # whether a symlink can be told from the file it leads to

    def lay(self, folder: str, name: str, body: bytes) -> None:
        """Puts or replaces a file, making the folder if need be."""

    def lay_odd(self, folder: str, name: str) -> None:
        """Lays something that is no regular file."""

    def content(self, folder: str) -> dict[str, bytes]:
        """The regular files of a folder."""

    def there(self, folder: str, name: str) -> bool:
        """Whether a file of that name lies there now."""

    def drop_folder(self, folder: str) -> None:
        """Takes a folder away with all that is in it."""


class MemoryWorld:
    unsayable = ""
    shows_links = True

    def __init__(self) -> None:
        self.endpoint = MemoryEndpoint("test")
        self.lay = self.endpoint.lay
        self.lay_odd = self.endpoint.lay_odd
        self.content = self.endpoint.content
        self.drop_folder = self.endpoint.drop_folder

    def there(self, folder: str, name: str) -> bool:
        return name in self.content(folder)


class DiskWorld:
    """Hands on a folder of this machine: for the folder endpoint, and for servers that serve one."""

    unsayable = ""
    shows_links = True

    def __init__(self, root: Path, endpoint: Endpoint) -> None:
        self.root = root
        self.endpoint = endpoint

    def lay(self, folder: str, name: str, body: bytes) -> None:
        self._open_folder(folder)
        (self.root / folder / name).write_bytes(body)
        (self.root / folder / name).chmod(0o666)

    def lay_odd(self, folder: str, name: str) -> None:
        self._open_folder(folder)
        (self.root / folder / name).symlink_to("/etc/hostname")

    def content(self, folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.root / folder).iterdir() if path.is_file()}

    def empty(self) -> None:
        """Takes away what the test before left."""
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def there(self, folder: str, name: str) -> bool:
        return (self.root / folder / name).exists()

    def drop_folder(self, folder: str) -> None:
        shutil.rmtree(self.root / folder)

    def _open_folder(self, folder: str) -> None:
        """Makes a folder that servers which run as another user may write into."""
        path = self.root
        for part in folder.split("/"):
            path /= part
            if not path.exists():
                path.mkdir()
                path.chmod(0o777)


class FolderWorld(DiskWorld):
    def __init__(self, root: Path) -> None:
        super().__init__(root, FolderEndpoint(str(root)))


def lay_every_odd_kind(folder: Path) -> list[str]:
    """A symlink to a file, one to a folder, one to nowhere, a FIFO, a socket and a folder; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "link-to-folder").symlink_to("/etc")
    (folder / "link-to-nowhere").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    (folder / "folder").mkdir()
    return ["link", "link-to-folder", "link-to-nowhere", "fifo", "socket", "folder"]
