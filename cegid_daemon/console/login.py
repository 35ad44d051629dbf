"""Login and logout."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cegid_daemon.console import rendering
from cegid_daemon.console.devices import LIFETIME, Devices
from cegid_daemon.console.rendering import visible
from cegid_daemon.console.sessions import LONGEST_NAME, role_of
from cegid_daemon.console.visit import Desk, Visit, back, give_cookie, same_token, typed_form

log = logging.getLogger(__name__)

_TOKEN_BYTES = 24
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)  # what so many bytes are written as


async def ask(request: Request) -> Response:
    """The form."""
    desk: Desk = request.app.state.desk
    if not desk.guarded:
        return RedirectResponse("/", 303)
    return await run_in_threadpool(_form, request, desk)


def _form(request: Request, desk: Desk, *, status: int = 200, fault: str = "", name: str = "") -> Response:
    """Without a session the token of the form is held by a cookie of its own, one for all tabs of a browser."""
    held = request.cookies.get(f"{desk.cookie}_login", "")
    token = held if _TOKEN.fullmatch(held) else secrets.token_urlsafe(_TOKEN_BYTES)
    text = rendering.render(
        "login.html", csrf=token, fault=fault, name=name, next=local_path(request.query_params.get("next", "/")),
        in_clear=desk.in_clear,
    )  # fmt: skip
    response = HTMLResponse(text, status)
    response.set_cookie(
        f"{desk.cookie}_login", token, httponly=True, samesite="strict", secure=desk.https, path="/login"
    )
    return response


async def enter(request: Request) -> Response:
    """Takes name and password."""
    desk: Desk = request.app.state.desk
    if not desk.guarded:
        return RedirectResponse("/", 303)
    form = await typed_form(request)
    name, typed, token = (str(form.get(key, "")) for key in ("name", "password", "csrf"))
    cookie = request.cookies.get(f"{desk.cookie}_login", "")
    if not cookie or not same_token(token, cookie):
        return await run_in_threadpool(_form, request, desk, status=403, fault="The form was too old. Try again.")
    name = name.strip()[:LONGEST_NAME]
    return await run_in_threadpool(_enter, request, desk, name, typed)


def _enter(request: Request, desk: Desk, name: str, typed: str) -> Response:
    address = request.client.host if request.client else "unknown"
    devices: Devices = request.app.state.devices
    now = desk.ground.clock().timestamp()
    wait = desk.limit.wait(address, name)
    before = devices.role(request.cookies, name, now) if wait else None  # what it logged in to before
    if wait and before is None:
        return _too_many(request, desk, name, wait)
    role = role_of(typed, desk.ground.config.console)
    if wait and role is not before:
        return _too_many(request, desk, name, wait)  # the same, so that nobody learns of another password
    if role is None or not name:
        if role is None:
            desk.limit.failed(address, name)
            log.warning("Console: a login as %r from %s failed", str(visible(name)), address)
        fault = "Wrong password." if role is None else "Give your name: it is kept with what you change."
        return _form(request, desk, status=403, fault=fault, name=name)
    desk.limit.worked(address, name)
    log.info("Console: %r logged in from %s as %s", str(visible(name)), address, role)
    token, _ = desk.sessions.open(name, role)
    response = RedirectResponse(local_path(request.query_params.get("next", "/")), 303)
    give_cookie(response, desk, token)
    response.set_cookie(
        devices.cookie(name), devices.token(name, role, now), max_age=LIFETIME, httponly=True,
        samesite="strict", secure=desk.https, path="/login",
    )  # fmt: skip
    return response


def _too_many(request: Request, desk: Desk, name: str, wait: float) -> Response:
    fault = f"Too many failed logins. Wait {wait:.0f} seconds, then try again."
    response = _form(request, desk, status=429, fault=fault, name=name)
    response.headers["retry-after"] = str(int(wait) + 1)
    return response


def local_path(path: str) -> str:
    """A path of this console, or `/`: never an address of another site."""
    harmless = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout"))
    return path if harmless and path.isprintable() and "\\" not in path else "/"


def leave(visit: Visit) -> Response:
    """Ends the session."""
    desk = visit.desk
    desk.sessions.close(visit.request.cookies.get(desk.cookie, ""))
    response = back(visit, "/")
    response.delete_cookie(desk.cookie, path="/")
    return response
