"""Senders on a server that pause for longer than two looks at its listing: nothing of what they write is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop
from tests.servers import ftp, sftp
from tests.servers.places import Place

ROUTE = """\
[route.rows]
store = "main"
layout = "rows"
template = "rows.txt.j2"
source = {{ endpoint = "server", folder = "in", settle = "50ms", poll = "100ms"{} }}
target = {{ endpoint = "outbox", folder = "out", name = "{{{{ source.stem }}}}.txt" }}
"""
KINDS = ("ftp", "sftp")


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[Place]:
    with sftp.openssh(folder) if kind == "sftp" else ftp.vsftpd(folder) as place:
        yield place


class ServerShop(Shop):
    """A shop whose files come from the folder `in` of a server."""

    def __init__(self, folder: Path, place: Place, source: str = "") -> None:
        folder.mkdir()
        lines = ["[endpoint.server]", f'url = "{place.url}"']
        if "private_key" in place.options:
            lines += [f'{key} = "{place.options[key]}"' for key in ("known_hosts", "private_key")]
        super().__init__(folder, ROUTE.format(source), layout="\n".join(lines))
        self.inbox = place.root / "in"
        self.inbox.mkdir()
        self.inbox.chmod(0o777)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # vsftpd serves as a user of its own
    folder = tmp_path / "server"
    folder.mkdir()
    with _server(request.param, folder) as running:
        yield running


def test_what_comes_after_the_file_was_taken_goes_out_too(place: Place, tmp_path: Path) -> None:
    shop = ServerShop(tmp_path / "shop", place)
    with shop.run() as daemon, (shop.inbox / "STOCK.csv").open("wb", buffering=0) as file:
        (shop.inbox / "STOCK.csv").chmod(0o666)
        file.write(b"ID;N\na;1\n")
        daemon.wait_for(lambda: shop.states()["done"] == 1, "the first half")
        file.write(b"a;2\n")
        daemon.wait_for(lambda: shop.states()["done"] == 2, "the whole", 60)
        assert shop.out() == {"STOCK.txt": b"a;1\na;2\n"}


def test_an_empty_upload_waits_until_it_is_filled(place: Place, tmp_path: Path) -> None:
    shop = ServerShop(tmp_path / "shop", place)
    with shop.run() as daemon, (shop.inbox / "STOCK.csv").open("wb", buffering=0) as file:
        (shop.inbox / "STOCK.csv").chmod(0o666)
        daemon.wait_for(lambda: shop.sql("SELECT reason FROM waiting_file") == [("empty",)], "waiting")
        file.write(b"ID;N\na;1\n")
        daemon.wait_for(lambda: shop.states()["done"] == 1, "taken")
        assert shop.out() == {"STOCK.txt": b"a;1\n"}


def test_a_left_file_uploaded_again_with_the_same_bytes_is_not_sent_again(place: Place, tmp_path: Path) -> None:
    shop = ServerShop(tmp_path / "shop", place, ', after = "leave"')
    path = shop.inbox / "STOCK.csv"
    for second, (body, taken) in enumerate(((b"ID;N\na;1\n", 1), (b"ID;N\na;1\n", 1), (b"ID;N\na;2\n", 2))):
        path.unlink(missing_ok=True)
        path.write_bytes(body)
        path.chmod(0o666)
        os.utime(path, (1_790_000_000 + second,) * 2)  # servers tell whole seconds
        done = shop.call("once")
        assert (done.returncode, shop.states()["done"]) == (0, taken), done.stderr
