"""One world for each kind of endpoint; every test of this folder runs in each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from cegid_daemon.endpoints import open_endpoint
from tests.contract.worlds import DiskWorld, FolderWorld, MemoryWorld, World
from tests.servers import ftp, sftp
from tests.servers.places import Place

SERVERS = {
    "vsftpd": ftp.vsftpd,
    "vsftpd-tls": partial(ftp.vsftpd, scheme="ftps"),
    "vsftpd-implicit": partial(ftp.vsftpd, scheme="ftps+implicit"),
    "pyftpdlib": ftp.in_process,
    "pyftpdlib-tls": partial(ftp.in_process, scheme="ftps"),
    "openssh": sftp.openssh,
    "asyncssh": sftp.in_process,
}


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """Servers, each started when it is first asked for and kept for all tests."""
    with ExitStack() as stack:
        yield _Started(stack, tmp_path_factory)


class _Started(dict[str, Place]):
    def __init__(self, stack: ExitStack, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._stack = stack
        self._folders = folders

    def __missing__(self, kind: str) -> Place:
        self[kind] = self._stack.enter_context(SERVERS[kind](self._folders.mktemp(kind)))
        return self[kind]


@pytest.fixture(params=["folder", "memory", *SERVERS])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty endpoint of one kind, with the folder `in`."""
    made = _world(request.param, request, tmp_path)
    made.endpoint.make_folder("in")
    yield made
    made.endpoint.close()


def _world(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if kind == "memory":
        return MemoryWorld()
    if kind == "folder":
        return FolderWorld(tmp_path)
    place: Place = request.getfixturevalue("servers")[kind]
    world = DiskWorld(place.root, open_endpoint(place.spec()))
    if place.url.startswith("ftp"):
        world.unsayable = "\n"
    if kind.startswith("pyftpdlib"):
        world.unsayable, world.shows_links = "\n\udcff", False
    world.empty()
    return world
