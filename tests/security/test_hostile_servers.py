"""Hostile servers at the daemon's other end: each is a plain trouble, none grows the daemon or stops the others."""

from __future__ import annotations

import gzip
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.security.service import MAX_GROWTH, Service, running
from tests.servers import hostile_sftp as sftp
from tests.servers.hostile_api import HostileApi, hostile_api
from tests.servers.hostile_ftp import MLSD_LINE, HostileFtp, endless, hostile_ftp
from tests.servers.hostile_sftp import Requests, entry, hostile_sftp
from tests.servers.places import HOST

SECONDS = 20.0  # until each attack must have been told
OK = b"HTTP/1.1 200 OK\r\n"


def many_names(requests: Requests, number: int, _body: bytes) -> None:
    requests.reply(sftp.NAME, number, struct.pack(">I", 20_000) + entry(b"S1.csv", bytes(4)) * 20_000)


def unasked(requests: Requests, _number: int, _body: bytes) -> None:
    for other in range(1000, 5000):
        requests.reply(sftp.DATA, other, sftp.text(bytes(32000)))


def long_packet(requests: Requests, _number: int, _body: bytes) -> None:
    requests.channel.sendall(struct.pack(">IB", 0xFFFFFFF0, sftp.NAME) + bytes(1 << 20))


def bad_numbers() -> list[bytes]:
    return [
        b"type=file;size=" + b"9" * 31 + b"; huge.csv\r\n", b"type=file;size=1;modify=99991231235959; late.csv\r\n",
        MLSD_LINE % b"../../evil.csv", MLSD_LINE % b"/etc/evil.csv", MLSD_LINE % b"processed", MLSD_LINE % b"failed",
        MLSD_LINE % b".cegid-daemon.owner",
    ]  # fmt: skip


FTP = {  # the script of each server, and what the daemon's log must say
    "entries": ({"listing": endless(MLSD_LINE % b"S1.csv")}, "more than 250,000 entries"),
    "bytes": ({"listing": endless(MLSD_LINE % (b"S" * 900))}, "more than 48 MiB"),
    "line": ({"listing": endless(b"x")}, "a line of more than"),
    "feat": ({"replies": {"FEAT": endless(b"211-MLST\r\n")}}, "a reply has more than"),
    "banner": ({"banner": endless(b"220-welcome\r\n")}, "a reply has more than"),
    "greeting": ({"banner": endless(b"x")}, "line without end"),
    "file": ({"body": endless(b"x" * 65536)}, "sends more than the file has"),
    "port": ({"replies": {"PASV": lambda: [b"227 (1,2,3,4,999,9)\r\n"], "EPSV": lambda: [b"229 (|||x|)\r\n"]}}, "229"),
    "numbers": ({"listing": bad_numbers}, "huge.csv"),
}
SFTP = {
    "names": ({sftp.READDIR: many_names}, "more than 250,000 entries"),
    "unasked": ({sftp.READDIR: unasked}, "which was not made"),
    "packet": ({sftp.READDIR: long_packet}, "a packet of"),
}
API = {
    "bomb": ([OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(100_000_000), 1)], "too large"),
    "blanks": ([OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b" " * 100_000_000, 1)], "too large"),
    "headers": ([OK, *(b"X-%d: y\r\n" % no for no in range(5000)), b"\r\n"], "no HTTP"),
    "redirect": ([b"HTTP/1.1 307 Moved\r\nLocation: http://{elsewhere}/\r\n\r\n"], "redirects are not followed"),
}
ROUTE = """
[route.{name}]
title = "Rows of {name}"
store = "main"
layout = "rows"
template = "rows.txt.j2"
source = {{ endpoint = "{name}", match = "*", settle = "0s", poll = "1s"{more} }}
target = {{ endpoint = "outbox", folder = "{name}", name = "{{{{ source.stem }}}}.txt" }}
"""
API_ROUTE = """
[endpoint.{name}]
url = "http://{host}:{port}/1.4"
token = {{ file = "sender" }}
max_answer = "20MB"
timeout = "60s"
[route.{name}]
title = "Orders of {name}"
direction = "export"
store = "main"
source = {{ endpoint = "{name}", request = "aurora/order-get.xml.j2", unique = "r.OrderID", poll = "5s" }}
layout = "aurora-order-export"
template = "cegid/order-piece.asc.j2"
target = {{ endpoint = "outbox", folder = "{name}", name = "CC_{{{{ message.id }}}}.asc" }}
"""


@dataclass
class Hostile:
    """The servers; each attacks when it is armed."""

    armed: dict[str, threading.Event] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    elsewhere: HostileApi | None = None

    def add(self, name: str, text: str) -> threading.Event:
        self.armed[name], self.texts[name] = threading.Event(), text
        return self.armed[name]

    def add_files(self, name: str, server: HostileFtp | sftp.HostileSftp, keys: str) -> None:
        self.ports[name] = server.port
        scheme = "ftp" if isinstance(server, HostileFtp) else "sftp"
        self.tables.append(
            f'[endpoint.{name}]\nurl = "{scheme}://cegid@{HOST}:{server.port}/"\ntimeout = "60s"\n{keys}\n'
            + ROUTE.format(name=name, more="")
        )  # fmt: skip


def begin(folder: Path, stack: ExitStack) -> Hostile:
    """Every server, silent until it is armed."""
    hostile = Hostile()
    folder.mkdir(parents=True)
    secret = folder / "password"
    secret.write_text(sftp.PASSWORD)
    secret.chmod(0o600)
    password = f'password = {{ file = "{secret}" }}'
    for name, (script, text) in FTP.items():
        ftp = stack.enter_context(hostile_ftp(armed=hostile.add(f"ftp{name}", text), **script))
        hostile.add_files(f"ftp{name}", ftp, password)
    for name, (answers, text) in SFTP.items():
        armed = hostile.add(f"sftp{name}", text)
        server = stack.enter_context(hostile_sftp(folder / name, answers, armed=armed))
        hosts = folder / name / "known_hosts"
        hosts.write_text(f"{server.host_line}\n")
        hostile.add_files(f"sftp{name}", server, f'{password}\nknown_hosts = "{hosts}"')
    hostile.elsewhere = stack.enter_context(hostile_api(lambda: [OK + b"\r\n"]))
    for name, (pieces, text) in API.items():
        said = [piece.replace(b"{elsewhere}", f"{HOST}:{hostile.elsewhere.port}".encode()) for piece in pieces]
        api = stack.enter_context(hostile_api(lambda said=said: said, hostile.add(f"api{name}", text)))  # type: ignore[misc]
        hostile.ports[f"api{name}"] = api.port
        hostile.tables.append(API_ROUTE.format(name=f"api{name}", host=HOST, port=api.port))
    return hostile


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[tuple[Service, Hostile]]:
    with ExitStack() as stack:
        hostile = begin(tmp_path / "servers", stack)
        with running(tmp_path / "shop", extra="\n".join(hostile.tables)) as service:
            try:
                yield service, hostile
            finally:
                for armed in hostile.armed.values():
                    armed.set()


def test_hostile_servers_are_plain_troubles_and_hold_nobody_up(attacked: tuple[Service, Hostile]) -> None:
    service, hostile = attacked
    for name, text in hostile.texts.items():
        hostile.armed[name].set()
        await_text(service, f":{hostile.ports[name]}", text)
    service.check()
    assert peak(service) - service.idle_size <= MAX_GROWTH, f"grew by {peak(service) - service.idle_size:,} bytes"
    assert hostile.elsewhere is not None
    assert hostile.elsewhere.requests == []
    assert not list(service.shop.folder.rglob("evil*"))
    told = json.loads(service.shop.call("status", "--json").stdout)
    assert "huge.csv" in json.dumps(told["notices"])


def await_text(service: Service, port: str, text: str) -> None:
    """Waits until the log says of the server at `port` what is wrong."""
    end = time.monotonic() + SECONDS
    while not any(text in block and port in block for block in service.daemon.said().split("\n2")):
        assert service.daemon.process.poll() is None, service.daemon.said()[-3000:]
        assert time.monotonic() < end, f"{port}: {text!r} was not told\n{service.daemon.said()[-6000:]}"
        time.sleep(0.05)


def peak(service: Service) -> int:
    """The most memory the daemon ever had, in bytes."""
    lines = Path(f"/proc/{service.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
