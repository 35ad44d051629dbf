"""The gate in front of every page: host names, methods, sizes, and the headers that every answer carries.

Says whose request it is that comes through a proxy. Refuses a request whose Host is not ours (DNS rebinding), one sent
by a foreign page, and one that is too large or does not come to its end, before any page sees it. Knows no page and no
session.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cegid_daemon.console.forwarding import Proxies

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LARGEST_BODY = 32 << 20  # bytes: an import of about a million buffers
_SMALL_BODY, _TINY_BODY = 64 << 10, 8 << 10
_LONGEST_NUMBER = 20  # digits
_SECONDS, _LARGE_SECONDS = 20.0, 600.0  # until a body must have come: a form, a file over a slow line
_HOST = re.compile(r"(\[(?P<address>[^\s\[\]@/\\]+)\]|(?P<name>[^\s\[\]@/\\:]+))(:[0-9]{1,5})?", re.ASCII)
_METHODS = ("GET", "HEAD", "POST")


class Gate:
    """Wraps the console's pages."""

    def __init__(
        self, app: ASGIApp, hosts: Collection[str], *, https: bool, large: Collection[str] = (),
        tiny: Collection[str] = (), seconds: float = _SECONDS, proxies: Proxies | None = None,
    ) -> None:  # fmt: skip
        self._app = app
        self._hosts = frozenset(_configured(host) for host in hosts)
        self._https = https
        self._large = frozenset(large)  # paths that take files
        self._tiny = frozenset(tiny)  # paths that take a few words of whoever comes
        self._seconds = seconds
        self._proxies = proxies or Proxies(())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            return
        if scope.get("client"):
            scope["client"] = (self._proxies.visitor(scope["client"][0], _forwarded(scope)), 0)
        refusal = self._refusal(scope)
        seconds = _LARGE_SECONDS if scope["path"] in self._large else self._seconds
        bounded = _Bounded(receive, self._largest(scope["path"]), seconds)
        sealed = self._sealed(send)
        if refusal is not None:
            await refusal(scope, receive, sealed)
            return
        await self._app(scope, bounded.receive, sealed)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if _is_ambiguous(scope, headers):
            return _refuse(400, "The request can be read in two ways.", {"connection": "close"})
        if not self._is_ours(headers.get("host", "")):
            return _refuse(421, "This console is not reached under that name. Add it to `hosts` of [console].")
        if scope["method"] not in _METHODS:
            return _refuse(405, "Only GET and POST are known here.")
        if scope["method"] == "POST" and not self._own_page(headers):
            return _refuse(403, "The request came from another page.")
        size = headers.get("content-length", "0")
        is_number = size.isascii() and size.isdigit() and len(size) < _LONGEST_NUMBER
        if not is_number or int(size) > self._largest(scope["path"]):
            return _refuse(413, "The request is too large.")
        return None

    def _largest(self, path: str) -> int:
        if path in self._large:
            return LARGEST_BODY
        return _TINY_BODY if path in self._tiny else _SMALL_BODY

    def _is_ours(self, host: str) -> bool:
        """An address needs no list: only names can be rebound."""
        name = _without_port(host).lower().rstrip(".")
        return name in self._hosts or _is_address(name)

    def _own_page(self, headers: Headers) -> bool:
        """What the browser says of where a form was sent from; a browser too old to say it is held by the token."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site not in (None, "same-origin", "none"):
            return False
        return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()

    def _sealed(self, send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if self._https:
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        return with_headers


class _Bounded:
    """Receives a body and ends the request when it grows beyond a size, or takes longer than it may."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._left = most
        self._seconds = seconds
        self._until: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """The next piece."""
        if self._whole:
            return await self._receive()  # that the client leaves may be waited for as long as the answer takes
        message = await self._in_time()
        self._whole = not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        return message if self._left >= 0 else {"type": "http.disconnect"}

    async def _in_time(self) -> Message:
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError:
            return {"type": "http.disconnect"}


def _forwarded(scope: Scope) -> list[str]:
    return Headers(scope=scope).getlist("x-forwarded-for")


def _is_ambiguous(scope: Scope, headers: Headers) -> bool:
    """Whether a proxy before us may see other requests than we do, or another host."""
    chunked = "transfer-encoding" in headers
    if chunked and ("content-length" in headers or scope.get("http_version") == "1.0"):
        return True
    return not scope["path"].startswith("/")


def _refuse(status: int, text: str, headers: Mapping[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status, headers)


def _configured(host: str) -> str:
    """A name of the configuration, also where it is written as browsers show it: `https://cegid.example:8443/`."""
    return _without_port(host.rpartition("://")[2].partition("/")[0]).lower().rstrip(".")


def _without_port(host: str) -> str:
    """The name in a Host header; what is more than a name with a port stays as it is, and is none of ours."""
    found = _HOST.fullmatch(host)
    return (found["address"] or found["name"]) if found else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
