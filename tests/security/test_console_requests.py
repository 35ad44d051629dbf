"""Requests made to be misunderstood, and bodies without end: one reading of each, and bounded memory."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.integration.console_site import Browser
from tests.security.service import OPERATOR, VIEWER, Service
from tests.servers.places import HOST

HOSTED = b"Host: localhost\r\n"
SMUGGLED = b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /login HTTP/1.1\r\n" + HOSTED
LAST = SMUGGLED[:-2] + b"Connection: close\r\n\r\n"
MIB = 1 << 20


def answers(service: Service, sent: bytes, seconds: float = 1.0) -> list[int]:
    """The statuses that come back on one connection."""
    with socket.create_connection((HOST, service.console), timeout=seconds) as line:
        received = b""
        with suppress(OSError):
            line.sendall(sent)
            while piece := line.recv(1 << 16):
                received += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


# what a proxy may read otherwise: it must be refused, and nothing behind it may be taken for a request
REFUSED = {
    "both lengths": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "lengths the other way": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 53\r\n\r\n" + SMUGGLED,
    "a list of lengths": POST + b"Content-Length: 0, 53\r\n\r\n" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "a length in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a huge length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + SMUGGLED,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two codings": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a blank before the colon": POST + b"Content-Length : 0\r\n\r\n" + SMUGGLED,
    "a NUL in a header": POST + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" + SMUGGLED,
    "no host": b"GET / HTTP/1.1\r\n\r\n" + SMUGGLED,
    "a chunk size that is none": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" + SMUGGLED,
    "a chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + SMUGGLED,
    "a chunk longer than said": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n" + SMUGGLED,
    "a target of another host": b"GET http://evil.example/ HTTP/1.1\r\n" + HOSTED + b"\r\n" + SMUGGLED,
    "a target of our own in full": b"GET http://localhost/log HTTP/1.1\r\n" + HOSTED + b"\r\n" + SMUGGLED,
    "a target that is a host": b"CONNECT evil.example:80 HTTP/1.1\r\n" + HOSTED + b"\r\n" + SMUGGLED,
    "a target that is a star": b"OPTIONS * HTTP/1.1\r\n" + HOSTED + b"\r\n" + SMUGGLED,
    "HTTP/0.9": b"GET /\r\n\r\n" + SMUGGLED,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SMUGGLED,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused_with_all_behind_it(shared_service: Service, name: str) -> None:
    found = answers(shared_service, REFUSED[name])
    assert len(found) <= 1
    assert all(400 <= status < 500 or status == 501 for status in found), found


# what HTTP allows is read in one way: the first answer, and one for each further whole request
READ = {
    "two requests at once": (SMUGGLED + LAST, [200, 200]),
    "equal lengths": (POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + LAST, [403, 200]),
    "chunk extensions": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n" + LAST, [403, 200]),
    "a trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil.example\r\n\r\n" + LAST, [403, 200]),
    "a folded header": (b"GET /static/icon.svg HTTP/1.1\r\n" + HOSTED + b"X: a\r\n b\r\n\r\n" + LAST, [200, 200]),
    "bare line feeds": (SMUGGLED.replace(b"\r\n", b"\n") + LAST, [200, 200]),
    "a body of a GET": (
        SMUGGLED[:-2] + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED + LAST, [200, 200]
    ),
    "HTTP/1.0 is closed": (SMUGGLED.replace(b"1.1", b"1.0") + LAST, [200]),
    "HTTP/1.0 that would stay": (
        SMUGGLED.replace(b"1.1", b"1.0")[:-2] + b"Connection: keep-alive\r\n\r\n" + LAST, [200]
    ),
    "another protocol": (SMUGGLED[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + LAST, [200, 200]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_http_allows_is_read_in_one_way(shared_service: Service, name: str) -> None:
    sent, expected = READ[name]
    assert answers(shared_service, sent) == expected


def browser_of(service: Service, password: str) -> Browser:
    made = Browser(service.console)
    assert made.log_in("Ann", password).status == 303
    return made


def import_head(browser: Browser, size: int) -> bytes:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return (
        f"POST /buffers/import HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Length: {size}\r\n"
        "Content-Type: multipart/form-data; boundary=mark\r\n\r\n"
    ).encode()


FILE = b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nstore,level,key,value\n'


def send(line: socket.socket, size: int) -> None:
    """So many bytes, as far as they are taken."""
    line.settimeout(2)
    piece = b"main,product,a,1\n" * 4096
    with suppress(OSError):
        for _ in range(size // len(piece)):
            line.sendall(piece)


def test_a_viewer_is_refused_before_the_body_of_an_import_is_read(service: Service) -> None:
    viewer = browser_of(service, VIEWER)
    with ExitStack() as opened:
        lines = [opened.enter_context(socket.create_connection((HOST, service.console), 5)) for _ in range(10)]
        for line in lines:
            line.sendall(import_head(viewer, 30 * MIB))
            assert line.recv(12) == b"HTTP/1.1 403"
            send(line, 8 * MIB)
        assert service.growth() < 40 * MIB
        assert not list((service.shop.folder / "var" / "spool").glob("console-import-*"))


def spooled(service: Service) -> Iterator[int]:
    for path in (service.shop.folder / "var" / "spool").glob("console-import-*"):
        with suppress(FileNotFoundError):
            yield path.stat().st_size


def test_unfinished_imports_of_operators_wait_on_the_disk(service: Service) -> None:
    operator = browser_of(service, OPERATOR)
    with ExitStack() as opened:
        for _ in range(10):
            line = opened.enter_context(socket.create_connection((HOST, service.console), 5))
            line.sendall(import_head(operator, 31 * MIB) + FILE)
            send(line, 8 * MIB)
        assert service.growth() < 80 * MIB
        assert sum(spooled(service)) > 60 * MIB
        more = [opened.enter_context(socket.create_connection((HOST, service.console), 5)) for _ in range(10)]
        for line in more:
            line.sendall(import_head(operator, 31 * MIB) + FILE)
        assert any(line.recv(12) == b"HTTP/1.1 503" for line in more[-3:])
        assert service.deliver() < 15
    service.daemon.wait_for(lambda: not list(spooled(service)), "unfinished imports removed", 10)


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: 31000000\r\n\r\n",
        POST + b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["a large login", "an endless login", "an endless GET"],
)
def test_bodies_of_strangers_are_not_kept(service: Service, head: bytes) -> None:
    with ExitStack() as opened:
        begun = time.monotonic()
        lines = [opened.enter_context(socket.create_connection((HOST, service.console), 5)) for _ in range(30)]
        for line in lines:
            line.settimeout(0.5)
            with suppress(OSError):
                line.sendall(head)
                for _ in range(20):
                    line.sendall(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
        assert service.growth() < 60 * MIB
        assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/health/live/", "/health/live"),
        ("/log/?q=a%26b", "/log?q=a%26b"), ("/static/icon.svg//", "/static/icon.svg"),
        ("//evil.example/", "/"), ("/%2fevil.example/", "/"), ("/%5cevil.example/", "/%5Cevil.example"),
    ],
)  # fmt: skip
def test_a_slash_too_many_leads_to_the_page_whatever_the_host_is_said_to_be(
    shared_service: Service, path: str, leads: str
) -> None:
    answer = Browser(shared_service.console).get(path)
    assert (answer.status, answer.where) == (307, leads)
