"""The console as an ASGI application: which path leads to which page."""

from __future__ import annotations

import re

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from cegid_daemon.console import (
    alertpages,
    bufferpages,
    filepages,
    importpages,
    login,
    logpages,
    machines,
    messages,
    overview,
    pairs,
    rendering,
    settingpages,
    told,
)
from cegid_daemon.console.address import Address
from cegid_daemon.console.devices import Devices, device_key
from cegid_daemon.console.filepages import Places
from cegid_daemon.console.forwarding import Proxies
from cegid_daemon.console.gate import Gate
from cegid_daemon.console.ground import Ground
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.sessions import LoginLimit, Sessions
from cegid_daemon.console.visit import Desk, edits, shows

_STATIC = {"console.css": "text/css", "console.js": "text/javascript", "htmx.min.js": "text/javascript",
           "icon.svg": "image/svg+xml", "htmx.LICENSE.txt": "text/plain"}  # fmt: skip
_IMPORTS, _LOGIN = "/buffers/import", "/login"
_TOO_LONG = re.compile(r"/[0-9]{19}")  # 2^63 has 19 digits
_PROBES = 4  # threads for machines alone


def application(
    ground: Ground, address: Address, sessions: Sessions, limit: LoginLimit, tracer: Tracer, places: Places
) -> ASGIApp:
    """The pages behind the gate."""
    spec = ground.config.console
    inner = Starlette(
        routes=routes(),
        exception_handlers={HTTPException: _missing, Exception: _broken},
    )
    inner.router.redirect_slashes = False  # see `_without_slash`
    cookie = f"cegid_console_{address.port}"
    proxied = spec.https or bool(spec.trusted_proxies)
    inner.state.desk = Desk(ground, sessions, limit, cookie, https=spec.encrypted, proxied=proxied)
    inner.state.devices = Devices(device_key(ground.config.state), spec, cookie)
    inner.state.figures = overview.Figures()
    inner.state.tracer = tracer
    inner.state.places = places
    inner.state.probes = CapacityLimiter(_PROBES)
    inner.state.readiness = machines.Readiness()
    return Gate(
        inner,
        address.hosts(spec.hosts),
        https=spec.encrypted,
        large=(_IMPORTS,),
        tiny=(_LOGIN,),
        proxies=Proxies(spec.trusted_proxies),
    )


def probes(ground: Ground, address: Address, sessions: Sessions, limit: LoginLimit) -> ASGIApp:
    """What machines ask, on a listener of its own."""
    inner = Starlette(routes=_probes(), exception_handlers={HTTPException: _missing_probe, Exception: _broken})
    inner.router.redirect_slashes = False
    inner.state.desk = Desk(ground, sessions, limit, "", https=False, proxied=False)
    inner.state.probes = CapacityLimiter(_PROBES)
    inner.state.readiness = machines.Readiness()
    return Gate(inner, address.hosts(ground.config.console.hosts), https=False)


def routes() -> list[Route]:
    """Every page there is."""
    return [*_reading(), *_forms(), *_editing(), *_machines()]


class _Page(Route):
    """A route whose number is one that the journal can hold; a longer one names nothing."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for this page."""
        if "{number:int}" in self.path and _TOO_LONG.search(scope["path"]):
            return Match.NONE, {}
        return super().matches(scope)


def _reading() -> list[Route]:
    pages = {
        "/": overview.overview,
        "/log": logpages.listing,
        "/log/scan": logpages.scan,
        "/log/export.csv": logpages.export,
        "/entry/{number:int}": messages.entry,
        "/entry/{number:int}/save": messages.save,
        "/answer/{number:int}": messages.answer,
        "/message/{number:int}": messages.message,
        "/message/{number:int}/pair": pairs.pair,
        "/buffers": bufferpages.buffers,
        "/buffers/told": told.told,
        "/buffers/history": bufferpages.history,
        "/buffers/export.csv": bufferpages.export,
        "/settings": settingpages.settings,
        "/files": filepages.routes,
        "/files/{route}": filepages.files,
        "/files/{route}/view": filepages.view,
        "/files/{route}/save": filepages.save,
        "/alerts": alertpages.alerts,
    }
    return [_Page(path, shows(page), methods=["GET"]) for path, page in pages.items()]


def _forms() -> list[Route]:
    pages = {"/message/{number:int}/{what}": messages.decide_form, _IMPORTS: importpages.ask}
    return [_Page(path, shows(page, operators=True), methods=["GET"]) for path, page in pages.items()]


def _editing() -> list[Route]:
    pages = {
        "/message/{number:int}/{what}": messages.decide,
        "/buffers": bufferpages.change,
        "/buffers/import/apply": importpages.apply,
        "/settings": settingpages.change,
        "/alerts": alertpages.test,
    }
    edited: list[Route] = [_Page(path, edits(page), methods=["POST"]) for path, page in pages.items()]
    edited.append(Route(_IMPORTS, edits(importpages.preview, takes_file=True), methods=["POST"]))
    return [*edited, Route("/logout", edits(login.leave, anybody=True), methods=["POST"])]


def _machines() -> list[Route]:
    return [
        Route(_LOGIN, login.ask, methods=["GET"]),
        Route(_LOGIN, login.enter, methods=["POST"]),
        Route("/static/{name}", _static, methods=["GET"]),
        *_probes(),
    ]


def _probes() -> list[Route]:
    return [
        Route("/metrics", machines.metrics, methods=["GET"]),
        Route("/health/live", machines.live, methods=["GET"]),
        Route("/health/ready", machines.ready, methods=["GET"]),
    ]


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise HTTPException(404)
    return FileResponse(
        rendering.STATIC / name,
        media_type=_STATIC[name],
        headers={"cache-control": "public, max-age=31536000, immutable"},
    )


async def _missing(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    if status == 404 and (address := _without_slash(request)):
        return RedirectResponse(address, 307)
    if status == 404:
        page = shows(lambda visit: visit.page(
            "error.html", 404, title="There is no such page", why="", where="", remedy="Go on from the menu above."
        ))  # fmt: skip
        return await page(request)
    return await _plainly(request, exc)


async def _missing_probe(request: Request, exc: Exception) -> Response:
    address = _without_slash(request)
    return RedirectResponse(address, 307) if address else await _plainly(request, exc)


def _without_slash(request: Request) -> str:
    """Where a path with a slash too many leads: by the path alone, as a proxy knows scheme and host better."""
    path = request.url.path
    if request.method == "POST" or path == "/" or not path.endswith("/"):
        return ""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{login.local_path(path.rstrip('/') or '/')}{query}"


async def _plainly(request: Request, exc: Exception) -> Response:  # noqa: ARG001
    status, detail = (exc.status_code, exc.detail) if isinstance(exc, HTTPException) else (500, "")
    return PlainTextResponse(f"{detail}\n", status)


async def _broken(request: Request, exc: Exception) -> Response:  # noqa: ARG001
    """The error itself is logged by the server; nothing of it is told to the browser."""
    return PlainTextResponse("The console met a fault of its own; the daemon's log says more.\n", 500)
