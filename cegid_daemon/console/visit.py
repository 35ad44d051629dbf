"""One request on its way through a page: who asks, what was typed, and how an answer is made.

Owns the wrapping of page functions, which run in threads and never see a form whose token is not the session's. Errors
of the house become pages that say what to do.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from python_multipart.exceptions import FormParserError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cegid_daemon.console import rendering
from cegid_daemon.console.address import Address
from cegid_daemon.console.ground import Ground, Reading
from cegid_daemon.console.sessions import LoginLimit, Role, Session, Sessions
from cegid_daemon.console.uploads import upload_form
from cegid_daemon.errors import CegidDaemonError, JournalUnavailable, NotThere, Refused, Transient

Endpoint = Callable[[Request], Awaitable[Response]]
Page = Callable[["Visit"], Response]

_MOST_FIELDS = 40
_LONGEST_FIELD = 64 << 10
_READERS = (
    "Only operators may change something", "You are here to read.",
    "Ask an operator, or log out and in again with the operators' password.",
)  # fmt: skip
_STATUS = {NotThere: 404, Refused: 409, JournalUnavailable: 503, Transient: 503}


@dataclass(frozen=True)
class Desk:
    """What every request shares; kept in the application's state."""

    ground: Ground
    sessions: Sessions
    limit: LoginLimit
    cookie: str
    https: bool
    proxied: bool  # then whoever asks from this machine may be a proxy

    @property
    def guarded(self) -> bool:
        """Whether a login is asked for."""
        return self.ground.config.console.password is not None

    @property
    def in_clear(self) -> bool:
        """Whether others than this machine reach the console without TLS."""
        return not (self.https or Address.of(self.ground.config.console.listen).loopback)


@dataclass
class Visit:
    """One request."""

    request: Request
    desk: Desk
    session: Session
    form: FormData | None = None
    fresh_token: str = ""  # of a session made just now
    began: float = field(default_factory=time.monotonic)

    @property
    def ground(self) -> Ground:
        """The rooms of the daemon."""
        return self.desk.ground

    @property
    def who(self) -> str:
        """Who asks, as decisions and edits keep it."""
        return f"console:{self.session.who}"

    @property
    def may_edit(self) -> bool:
        """Whether this is no mere viewer."""
        return self.session.role is Role.OPERATOR

    def asked(self, name: str, default: str = "") -> str:
        """A value of the address."""
        return self.request.query_params.get(name, default)

    def typed(self, name: str) -> str:
        """A text of the form."""
        value = self.form.get(name, "") if self.form is not None else ""
        return value if isinstance(value, str) else ""

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the address between 0 and `most`."""
        text = self.asked(name)
        return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 20 else default

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """The journal, for this page."""
        with self.ground.readers.lend() as reading:
            yield reading

    def within(self, seconds: float) -> Callable[[], bool]:
        """Whether this page may take more time, asked again and again."""
        until = self.began + seconds
        return lambda: time.monotonic() < until

    def page(self, template: str, status: int = 200, /, **names: Any) -> HTMLResponse:
        """An answer out of a template."""
        shared = {
            "visit": self, "csrf": self.session.csrf, "may_edit": self.may_edit, "guarded": self.desk.guarded,
            "here": self.request.url.path, "notice": self.session.notice, "now": self.ground.clock(),
        }  # fmt: skip
        self.session.notice = ""
        return HTMLResponse(rendering.render(template, **{**shared, **names}), status)


def back(visit: Visit, path: str, notice: str = "") -> RedirectResponse:
    """Leads to another page after an edit, which says what was done."""
    visit.session.notice = notice
    return RedirectResponse(path, 303)


def shows(page: Page, *, operators: bool = False) -> Endpoint:
    """A page that only reads; one for `operators` holds a form that nobody else may send."""

    async def endpoint(request: Request) -> Response:
        visit = _visit(request)
        if visit is None:
            return _to_login(request)
        if operators and not visit.may_edit:
            return _refusal(visit, request, 403, *_READERS)
        return await _answer(page, visit)

    return endpoint


def edits(page: Page, *, anybody: bool = False, takes_file: bool = False) -> Endpoint:
    """A page that takes a form: from an operator (or `anybody`), with the session's own token, or not at all.

    Who may not send one is answered before its body is read.
    """

    async def endpoint(request: Request) -> Response:
        visit = _visit(request)
        if visit is None or visit.fresh_token:
            return _refusal(visit, request, 403, "This page is too old", "Your session has ended.")
        if not (visit.may_edit or anybody):
            return _refusal(visit, request, 403, *_READERS)
        visit.form = await (upload_form(request, visit.ground.spool) if takes_file else typed_form(request))
        try:
            if not same_token(visit.typed("csrf"), visit.session.csrf):
                return _refusal(visit, request, 403, "This page is too old", "It belongs to another session.")
            return await _answer(page, visit)
        finally:
            await visit.form.close()

    return endpoint


async def typed_form(request: Request) -> FormData:
    """The form of a request, within bounds. HTTPException 400 where it is none."""
    try:
        return await request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD)
    except ClientDisconnect as exc:
        raise HTTPException(413, "The form is too large, or did not come in time.") from exc
    except (FormParserError, LookupError, ValueError) as exc:
        raise HTTPException(400, "The form cannot be read.") from exc


def same_token(typed: str, expected: str) -> bool:
    """Whether a form's token is the session's."""
    return hmac.compare_digest(typed.encode("utf-8", "surrogatepass"), expected.encode())


def _visit(request: Request) -> Visit | None:
    desk: Desk = request.app.state.desk
    session = desk.sessions.find(request.cookies.get(desk.cookie, ""))
    if session is not None:
        request.state.logged_in = True  # this connection does not give way to one that nobody knows
        return Visit(request, desk, session)
    if desk.guarded:
        return None
    token, session = desk.sessions.open("local", Role.OPERATOR)
    return Visit(request, desk, session, fresh_token=token)


async def _answer(page: Page, visit: Visit) -> Response:
    try:
        response = await run_in_threadpool(page, visit)
    except CegidDaemonError as error:
        response = _told(error, visit)
    if visit.fresh_token:
        give_cookie(response, visit.desk, visit.fresh_token)
    return response


def _told(error: CegidDaemonError, visit: Visit) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return visit.page(
        "error.html", status, title=error.what, why=error.why, remedy=error.remedy, where=str(error.where)
    )


def _refusal(
    visit: Visit | None, request: Request, status: int, title: str, why: str,
    remedy: str = "Open the page again, then repeat what you did.",
) -> Response:  # fmt: skip
    if visit is None:
        return _to_login(request)
    response = visit.page("error.html", status, title=title, why=why, where="", remedy=remedy)
    if visit.fresh_token:
        give_cookie(response, visit.desk, visit.fresh_token)
    return response


def _to_login(request: Request) -> Response:
    if "hx-request" in request.headers:  # a piece of a page that is open: the whole page goes, not the piece
        here = urlsplit(request.headers.get("hx-current-url", ""))
        shown = urlunsplit(("", "", here.path or "/", here.query, ""))
        return Response(headers={"hx-redirect": f"/login?next={quote(shown)}"})
    path = request.url.path if request.method == "GET" else "/"
    query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
    return RedirectResponse(f"/login?next={quote(path + query)}", 303)


def give_cookie(response: Response, desk: Desk, token: str) -> None:
    """Lets the browser keep a session's token: no script sees it, no foreign page's form carries it."""
    response.set_cookie(desk.cookie, token, httponly=True, samesite="lax", secure=desk.https, path="/")
