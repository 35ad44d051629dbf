"""Odd values for every parameter of every page: an answer that says something, and never a fault of ours."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from starlette.routing import Route

from cegid_daemon import console
from cegid_daemon.console import app
from tests.integration.console_site import Browser
from tests.security.service import OPERATOR, Service
from tests.servers.places import HOST

ROUTES: list[Route] = [*app._reading(), *app._forms(), *app._editing(), *app._machines()]
_SOURCES = "\n".join(path.read_text("utf-8") for path in Path(console.__file__).parent.glob("*.py"))
_NAMES = re.compile(r'(?:asked|number|typed)\(\s*"([a-z_]+)"')
PARAMETERS = sorted({*_NAMES.findall(_SOURCES), "since", "until", "order", "next"})
ODD = [
    "", "0", "-1", "1e9", "9223372036854775807", "9223372036854775808", "9" * 30, "9" * 500, "٣", "\x00", "a\x00b",
    "\r\nSet-Cookie: x=1", "\x1b[31m", "\u202e\ufeff", "😀" * 20, "%", "%zz", "_", "'", '"', "\\", "*",
    "../../etc/passwd", "<script>alert(1)</script>", "{{ 7*7 }}", "0001-01-01T00:00:00", "9999-12-31T23:59:59",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30", "2026-11-27T10:00:00+23:59:59.999999",
    "rows", "main", "inbox", "x" * 500, "NEAR(a b)", "a AND", '"a', "-", "^a", "a:b",
]  # fmt: skip
RAW = ["%", "%zz", "%00", "%ff%fe", "%u0041", "+", "&&&===", "a=%c0%af", "=", "%0d%0aX:%20y", "%ed%a0%80"]


@pytest.fixture(scope="module")
def browser(shared_service: Service) -> Browser:
    """An operator who logged in."""
    made = Browser(shared_service.console)
    made.log_in("Ann", OPERATOR)
    return made


class Line:
    """A kept connection of an operator's browser, opened again when the console closed it."""

    def __init__(self, browser: Browser) -> None:
        self._cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self._connection = http.client.HTTPConnection(HOST, browser.port, timeout=30)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", **more: str) -> tuple[int, bytes]:
        headers = {"Cookie": self._cookies, **({"Content-Type": kind} if kind else {}), **more}
        for last in (False, True):
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                self._connection.close()
                if last:
                    raise
        raise AssertionError

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def line(browser: Browser) -> Iterator[Line]:
    with closing(Line(browser)) as made:
        yield made


NUMBERS = ["1", "0", "9" * 18, "9" * 19, "9223372036854775808", "9" * 40, "9" * 5000]
NAMES = [
    "rows",
    "release",
    "replay",
    "x",
    "%00",
    "%ff",
    "a%0d%0ab",
    "%2e%2e%2f",
    "..",
    "%F0%9F%98%80",
    "{x}",
    "x" * 3000,
]


def paths_of(route: Route) -> Iterator[str]:
    """The path with odd numbers and names in it."""
    named = re.compile(r"\{(what|route|name)\}")
    for number in NUMBERS if "{number:int}" in route.path else [""]:
        for name in NAMES if named.search(route.path) else [""]:
            yield named.sub(name, route.path.replace("{number:int}", number))


def test_every_route_takes_odd_paths(service: Service, line: Line) -> None:
    asked = 0
    for route in ROUTES:
        for path in paths_of(route):
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                status, told = line.ask(method, path, b"" if method == "POST" else None)
                assert status < 500, (method, path[:200], told[:300])
                asked += 1
    assert asked > 200


PAGES = [one for one in ROUTES if "GET" in (one.methods or ())]
FORMS = [one for one in ROUTES if "POST" in (one.methods or ()) and one.path != "/logout"]
FILLED = {"{number:int}": "1", "{what}": "release", "{route}": "rows", "{name}": "console.css"}


def test_every_page_takes_odd_values_for_every_parameter(service: Service, line: Line) -> None:
    killers = cycle(["9" * 25, "0001-01-01T00:00:00+14:00", "\x00", "'", "abc\x00"])
    for route in PAGES:
        path = route.path
        for placeholder, name in FILLED.items():
            path = path.replace(placeholder, name)
        for value in ODD:
            _read(line, f"{path}?{urlencode(dict.fromkeys(PARAMETERS, value))}")
        for value in RAW:
            _read(line, f"{path}?q={value}&{value}&since={value}&key={value}&number={value}")
        for name in PARAMETERS:
            _read(line, f"{path}?{name}={quote(next(killers))}")


def _read(line: Line, target: str) -> None:
    status, told = line.ask("GET", target)
    assert status < 500, (target[:300], told[:500])
    assert b"Traceback" not in told


def test_every_form_takes_odd_values_for_every_field(service: Service, browser: Browser) -> None:
    with closing(Line(browser)) as line:
        for route in FORMS:
            path = route.path.replace("{number:int}", "9" * 18).replace("{what}", "release")
            token = browser.token("/settings")
            for value in ODD:
                odd = {**dict.fromkeys(PARAMETERS, value), "csrf": token}
                for more in ({}, {"store": "main", "key": "nobody", "level": "product"}):
                    _send(line, path, urlencode({**odd, **more}).encode(), PAIRS)
                if route.path == "/buffers/import":
                    _send(line, path, *_multipart(odd))


def _send(line: Line, path: str, body: bytes, kind: str) -> None:
    status, told = line.ask("POST", path, body, kind)
    assert status < 500, (path, body[:300], told[:500])


def _multipart(fields: dict[str, str], file: bytes = b"store,level,key,value\n") -> tuple[bytes, str]:
    pieces = [
        f'--mark\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()
    ]
    head = '--mark\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    return ("".join(pieces) + head).encode() + file + b"\r\n--mark--\r\n", "multipart/form-data; boundary=mark"


FILES = {
    "a field of 200 kB": b"store,level,key,value\nmain,product," + b"x" * 200_000 + b",3\n",
    "a line of 2 MB": b"store,level,key,value" + b"," * 2_000_000,
    "an open quote": b'store,level,key,value\nmain,product,"' + b"x\n" * 100_000,
    "NULs": b"store,level,key,value\nmain,product,a\x00b,3\n" + b"\x00" * 5000,
    "control characters": b"store,level,key,value\nmain,product,\x1b[31m\x07,\r3\n",
    "half UTF-16": b"\xff\xfes\x00t",
    "UTF-16 cut": "store,level,key,value\nmain,product,a,3\n".encode("utf-16")[:-1],
    "broken UTF-8 far on": b"store,level,key,value\n" + b"main,product,a,3\n" * 9000 + b"main,product,\xff\xfe,3\n",
    "huge values": b"store,level,key,value\nmain,product,a," + b"9" * 5000 + b"\nmain,store,,9223372036854775808\n",
    "formulas": b"store,level,key,value\nmain,product,=cmd|' /C calc'!A0,3\n",
    "nothing": b"",
    "many columns": b"store,level,key,value\n" + b"main,product,a,3," * 50_000 + b"\n",
}


def test_an_import_takes_odd_files(service: Service, browser: Browser) -> None:
    with closing(Line(browser)) as line:
        token = browser.token("/buffers/import")
        for body in FILES.values():
            _send(line, "/buffers/import", *_multipart({"csrf": token}, body))
            _send(line, "/buffers/import/apply", urlencode({"csrf": token}).encode(), PAIRS)


MULTIPART, PAIRS = "multipart/form-data; boundary=mark", "application/x-www-form-urlencoded"
FIELD = b'--mark\r\nContent-Disposition: form-data; name="csrf"\r\n\r\na'
FILE = b'--mark\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na'
BROKEN_FORMS = {
    "no boundary": (b"--x", "multipart/form-data"),
    "long boundary": (b"--x", "multipart/form-data; boundary=" + "x" * 5000),
    "no end": (FIELD, MULTIPART),
    "no name": (b"--mark\r\nContent-Disposition: form-data\r\n\r\na\r\n--mark--\r\n", MULTIPART),
    "many files": ((FILE + b"\r\n") * 50 + b"--mark--\r\n", MULTIPART),
    "many fields in parts": ((FIELD + b"\r\n") * 500 + b"--mark--\r\n", MULTIPART),
    "a long field in a part": (FIELD + b"a" * 50_000 + b"\r\n--mark--\r\n", MULTIPART),
    "many heads": (b"--mark\r\n" + b"X: y\r\n" * 5000 + b"\r\na\r\n--mark--\r\n", MULTIPART),
    "a long head": (b"--mark\r\nX: " + b"y" * 50_000 + b"\r\n\r\na\r\n--mark--\r\n", MULTIPART),
    "junk": (bytes(range(256)) * 20, MULTIPART),
    "junk charset": (FIELD + b"\xe9\r\n--mark--\r\n", f"{MULTIPART}; charset=rot13"),
    "many fields": (b"a=1&" * 15_000, PAIRS),
    "only separators": (b"&;=" * 20_000, PAIRS),
    "junk pairs": (bytes(range(256)) * 20, PAIRS),
    "a long name": (b"a" * 60_000, PAIRS),
    "JSON": (b'{"csrf": 1}', "application/json"),
    "an odd kind": (b"a=1", '\xff\xfe; ;;="'),
}


def test_every_form_takes_broken_bodies(service: Service, browser: Browser) -> None:
    with closing(Line(browser)) as line:
        for name, (body, kind) in BROKEN_FORMS.items():
            for path in ("/login", "/settings", "/buffers", "/buffers/import", "/message/1/release", "/alerts"):
                status, told = line.ask("POST", path, body, kind)
                assert 300 <= status < 500, (name, path, told[:300])


HEADS = {
    "parameters": b"GET /log?" + b"q=1&" * 7000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "cookies": b"GET /log HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a=1; " * 6000 + b"\r\n\r\n",
    "odd cookies": b'GET /log HTTP/1.1\r\nHost: localhost\r\nCookie: =;;="\xff;\x01=\x02; a="\\\r\n\r\n',
    "headers": b"GET /log HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
    "a long header": b"GET /log HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"b" * 500_000 + b"\r\n\r\n",
    "a long target": b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a long method": b"G" * 100_000 + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "authorization": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic \xff\xfe==\r\n\r\n",
    "host": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "range": b"GET /static/console.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"9" * 22 + b"-,0-0\r\n\r\n",
    "ranges": b"GET /static/console.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes="
    + b",".join(b"%d-%d" % (n, n) for n in range(3000)) + b"\r\n\r\n",
    "dates": b"GET /static/console.css HTTP/1.1\r\nHost: localhost\r\nIf-Modified-Since: \x01 99 Zzz 99\r\n\r\n",
}  # fmt: skip


def test_thousands_of_parameters_cookies_and_headers_are_refused_or_ignored(service: Service) -> None:
    for name, head in HEADS.items():
        with socket.create_connection((HOST, service.console), timeout=10) as line:
            try:
                line.sendall(head)
                told = line.recv(65536)
            except ConnectionError:
                continue  # refused before all of it was read
            assert not told or 200 <= int(told[9:12]) < 500, (name, told[:300])
