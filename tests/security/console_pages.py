"""The console's application in this process, asked as a server would ask it; and every address its route table knows.

`Pages` opens the console over an installation's journal; `addresses` fills the routes with what the journal and the
folders hold, so that a page that is added is covered by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.routing import Route

from cegid_daemon import once
from cegid_daemon.bootstrap import Installation, journal_path, utc_now
from cegid_daemon.config import Config
from cegid_daemon.console.address import Address
from cegid_daemon.console.app import application, routes
from cegid_daemon.console.filepages import Places
from cegid_daemon.console.ground import Ground, Readers
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.sessions import LoginLimit, Role, Session, Sessions

PORT = 8470
COOKIE = f"cegid_console_{PORT}"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """What a page answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


class Pages:
    """The console as somebody sees it."""

    def __init__(self, app: Any, sessions: Sessions) -> None:
        self.app = app
        self.sessions = sessions

    def open(self, role: Role) -> tuple[str, Session]:
        """A session's token, and the session."""
        return self.sessions.open(str(role), role)

    def ask(self, method: str, path: str, token: str = "", body: bytes = b"", kind: str = FORM) -> Answer:
        """One request."""
        return asyncio.run(self._ask(method, path, token, body, kind))

    async def _ask(self, method: str, path: str, token: str, body: bytes, kind: str) -> Answer:
        name, _, query = path.partition("?")
        headers = [(b"host", f"127.0.0.1:{PORT}".encode()), (b"content-type", kind.encode())]
        headers.append((b"content-length", str(len(body)).encode()))
        if token:
            headers.append((b"cookie", f"{COOKIE}={token}".encode()))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": name, "raw_path": quote(name).encode(), "query_string": query.encode(), "headers": headers,
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", PORT), "root_path": "",
        }  # fmt: skip
        sent: list[dict[str, Any]] = []
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for one in given:
                return one
            await asyncio.sleep(30)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = next(one for one in sent if one["type"] == "http.response.start")
        found = {key.decode().lower(): value.decode() for key, value in start["headers"]}
        content = b"".join(one.get("body", b"") for one in sent if one["type"] == "http.response.body")
        return Answer(start["status"], found, content)


def carry(installation: Installation, config: Config) -> None:
    """One pass over every source, as `once` makes it."""
    crew = installation.crew(config, beat=lambda: None, stopping=lambda: False)
    try:
        once.once(crew.sources, clock=utc_now, wait=lambda _seconds: False)
    finally:
        crew.close()


@contextmanager
def console(installation: Installation, config: Config, acts: list[str] | None = None) -> Iterator[Pages]:
    """The console over an open installation, with passwords as on any address that others reach.

    `acts` hears of what was done beside the journal: work that was woken, alerts that were sent.
    """
    done = [] if acts is None else acts
    path = journal_path(config)
    readers, places = Readers(path), Places(config.endpoints)
    tracer = Tracer(path, config.state / "spool" / "console")
    ground = Ground(config, installation.journal, installation.clock, done.append, lambda: True, readers, done.append)
    sessions = Sessions(time.monotonic)
    try:
        yield Pages(
            application(ground, Address("127.0.0.1", PORT), sessions, LoginLimit(time.monotonic), tracer, places),
            sessions,
        )
    finally:
        tracer.stop()
        places.close()
        readers.close()


def addresses(method: str, values: Mapping[str, list[str]], queries: Mapping[str, list[dict[str, str]]]) -> list[str]:
    """Every address of a method: parameters of paths are filled with all `values`, and each path asked with `queries`.

    Raises KeyError for a parameter nobody named: whoever adds a page says what stands in its address.
    """
    found: list[str] = []
    for route in routes():
        assert isinstance(route, Route)
        if method not in (route.methods or ()):
            continue
        names = list(route.param_convertors)
        for filled in itertools.product(*(values[name] for name in names)):
            path = route.path
            for name, value in zip(names, filled, strict=True):
                path = path.replace(f"{{{name}:int}}", quote(value)).replace(f"{{{name}}}", quote(value))
            for query in [{}, *(() if names else queries.get("*", ())), *queries.get(route.path, ())]:
                found.append(f"{path}?{urlencode(query)}" if query else path)
    return found
