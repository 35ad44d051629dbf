"""One world for each kind of endpoint; every test of this folder runs in each of them."""

from __future__ import annotations

from collections.abc import Iterator
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
    "pyftpdlib-bare": partial(ftp.in_process, proto_cmds=ftp.BARE),
    "openssh": sftp.openssh,
    "asyncssh": sftp.in_process,
}


@pytest.fixture(scope="session", params=["folder", "memory", *SERVERS])
def kind_and_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Place | None]]:
    """A kind of endpoint, and the running server of those that need one; kept for all tests of the kind."""
    if request.param not in SERVERS:
        yield request.param, None
        return
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as place:
        yield request.param, place


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """What a real file system does is the point here."""
    return disk_path


@pytest.fixture
def world(kind_and_place: tuple[str, Place | None], tmp_path: Path) -> Iterator[World]:
    """An empty endpoint of one kind, with the folder `in`."""
    made = _world(*kind_and_place, tmp_path)
    made.endpoint.make_folder("in")
    yield made
    made.endpoint.close()


def _world(kind: str, place: Place | None, tmp_path: Path) -> World:
    if place is None:
        return MemoryWorld() if kind == "memory" else FolderWorld(tmp_path)
    world = DiskWorld(place.root, open_endpoint(place.spec()))
    if place.url.startswith("ftp"):
        world.unsayable = "\n"
    if kind.startswith("pyftpdlib"):
        world.unsayable, world.shows_links = "\n\udcff", False
    world.empty()
    return world
