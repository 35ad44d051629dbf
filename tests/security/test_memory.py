"""The daemon's memory as a whole: everything that is known to fill it, one after the other and at once, at one daemon.

What each of them is answered is tested elsewhere; here the peak counts, from the start of the first to the last.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.harness import route_table
from tests.security.service import MAX_GROWTH, OPERATOR, VIEWER, Service, running
from tests.security.site_clients import FOR_READING, READ, Sftp, silent, ssh
from tests.security.test_console_requests import FILE, browser_of, import_head, send
from tests.servers.hostile_ftp import HostileFtp, Script, endless
from tests.servers.places import HOST

MIB = 1 << 20
ATTACKS = {
    "retr": Script(body=endless(b"x" * 65_536)),  # of a file that is listed with 10 bytes
    "mlsd": Script(listing=endless(b"type=file;size=10;modify=20261123074200; S1.csv\r\n")),
    "feat": Script(replies={"FEAT": endless(b" MLST type*;size*\r\n")}),
}
ENDPOINT = """\
[endpoint.{name}]
url = "ftp://user@{host}:{port}/"
password = {{ file = "operator" }}
timeout = "5s"
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, HostileFtp]]:
    """One for each endless answer."""
    opened = {name: HostileFtp(script) for name, script in ATTACKS.items()}
    yield opened
    for server in opened.values():
        server.close()


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, HostileFtp]) -> Iterator[Service]:
    """A daemon that takes from all of them."""
    extra = "".join(
        ENDPOINT.format(name=name, host=HOST, port=server.port)
        + route_table(name, out=name).replace('endpoint = "inbox"', f'endpoint = "{name}"').replace('"0s"', '"1s"')
        for name, server in servers.items()
    )
    with running(tmp_path_factory.mktemp("memory") / "shop", extra=extra) as started:
        yield started


def gaps(service: Service, opened: ExitStack) -> None:
    """Ten uploads with 15 MB each behind a gap."""
    session = Sftp(opened.enter_context(ssh(service)).open_session())
    for number in range(10):
        handle = session.open(b"gap%d" % number)
        assert handle is not None
        for piece in range(60):
            if session.write(handle, 1 + piece * 250_000, bytes(250_000)) != 0:
                break


def huge_reads(service: Service, opened: ExitStack) -> None:
    """READs of 4 GB each, of a file that is not there in memory."""
    large = service.shop.inbox.parent / "large.bin"
    with large.open("wb") as file:
        file.truncate(5 << 30)
    session = Sftp(opened.enter_context(ssh(service)).open_session())
    handle = session.open(b"large.bin", FOR_READING)
    assert handle is not None
    for _ in range(20):
        session.ask(READ, handle + struct.pack(">QI", 0, 0xFFFFFFFF))
    large.unlink()


def imports(service: Service, opened: ExitStack) -> None:
    """Ten of a viewer and ten of an operator, which never end."""
    for password in (VIEWER, OPERATOR):
        browser = browser_of(service, password)
        for _ in range(10):
            line = opened.enter_context(socket.create_connection((HOST, service.console), 5))
            line.sendall(import_head(browser, 31 * MIB) + FILE)
            send(line, 8 * MIB)


def lines_without_end(service: Service, opened: ExitStack) -> None:
    """At every port."""
    for port in (service.ftp, service.sftp, service.console):
        line = opened.enter_context(silent(port))
        send(line, 64 * MIB)


def test_no_attack_and_not_all_of_them_fill_the_daemon(service: Service, servers: dict[str, HostileFtp]) -> None:
    growth = {}
    for word, server in (("RETR", servers["retr"]), ("MLSD", servers["mlsd"]), ("FEAT", servers["feat"])):
        service.daemon.wait_for(lambda server=server, word=word: word in server.words, f"asked with {word}", 60)
        time.sleep(2)  # a stream fills gigabytes in this time
        growth[word] = service.growth()
    with ExitStack() as opened:
        for attack in (gaps, huge_reads, imports, lines_without_end):
            attack(service, opened)
            growth[attack.__name__] = service.growth()
        assert service.deliver() < 15
    assert max(growth.values()) <= MAX_GROWTH, growth
