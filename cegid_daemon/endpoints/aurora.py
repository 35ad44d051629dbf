"""The Aurora API: one envelope posted over HTTPS, one answer read, each within a deadline.

Owns the connection, the headers and the token, and what the failures of a request mean: cannot have arrived whole
(Transient), was sent and is unanswered (Unsure), not who it should be (Untrusted). Interprets no answer, follows no
redirect, retries nothing. Each request has a connection of its own: a kept one that the server closes at the wrong
moment would leave every such request unsure.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from xml.sax.saxutils import escape

from cegid_daemon import __version__
from cegid_daemon.endpoints.api_address import Api
from cegid_daemon.endpoints.api_bounds import BoundedResponse, ConnectionDeadline, EndlessFraming, Turns
from cegid_daemon.endpoints.bounds import Beat, no_beat
from cegid_daemon.endpoints.mime import inflated, unwrapped
from cegid_daemon.endpoints.protocol import Abilities, Answer
from cegid_daemon.errors import EndpointError, Permanent, Place, Transient, Unsure, Untrusted
from cegid_daemon.model import EndpointSpec

_PIECE = 256 * 1024
_WRAPPED = 2  # times as large as itself an answer may be in base64, with what is said around it
_AGAIN = "It is tried again by itself."
_ROOT = re.compile(rb"<(?:[\w.\-]+:)?AuroraRequestEnvelope(?:\s[^>]*)?>")
_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9]*")


class AuroraApi:
    """Posts envelopes to one Aurora API."""

    abilities = Abilities(renames=False, replaces=False, remote=True, posts=True)

    def __init__(self, spec: EndpointSpec, beat: Beat = no_beat) -> None:
        """`beat`: whom to tell that an answer comes, however slowly."""
        self._response_class = partial(BoundedResponse, beat=beat)
        self._api = api = Api.of(spec)
        self._tls = api.tls_context() if api.secure else None
        self._turns = Turns(api.pace)
        self._token = api.revealed_token()

    @property
    def where(self) -> str:
        """`https://api.shop.example:443/1.4`."""
        return self._api.where

    def greet(self) -> None:
        """See `Poster.greet`: the token is not tried, as no method of the API does nothing."""
        with self._connected(Place(file=self.where)):
            pass

    def close(self) -> None:
        """Nothing is kept open between two requests."""

    @contextmanager
    def post(self, method: str, body: Iterable[bytes], size: int, request_uid: str) -> Iterator[Answer]:
        """See `Poster.post`."""
        if not _METHOD.fullmatch(method):
            raise ValueError(f"not a method of the API: {method!r}")
        place = Place(file=f"{self.where}/{method}")
        headers = self._headers(method, request_uid)
        if self._token and self._api.token_in in ("envelope", "both"):
            header = b"<Header><AuthToken>%s</AuthToken></Header>" % escape(self._token).encode()
            body, size = _with_header(body, header, place), size + len(header)
        self._turns.take(place)
        with self._connected(place) as (connection, deadline):
            early = self._send(connection, method, {**headers, "Content-Length": str(size)}, body, place, deadline)
            with contextlib.closing(early or self._response(connection, place, deadline)) as response:
                yield Answer(response.status, self._body(response, place, deadline), _retry_after(response))

    def _headers(self, method: str, request_uid: str) -> dict[str, str]:
        headers = {
            "Content-Type": "application/xml",
            "Accept": "application/xml, text/xml, multipart/*",
            "Accept-Encoding": "identity",
            "User-Agent": f"cegid-daemon/{__version__}",
            "Connection": "close",
            "X-AURORA-REQUEST-METHODS": method,
            "X-Request-ID": request_uid,
        }
        if self._token and self._api.token_in in ("header", "both"):
            headers["X-AURORA-AUTH-TOKEN"] = self._token
        return headers

    # -- the connection ---------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self, place: Place) -> Iterator[tuple[http.client.HTTPConnection, ConnectionDeadline]]:
        api = self._api
        try:
            plain = socket.create_connection((api.host, api.port), timeout=api.timeout.total_seconds())
        except OSError as exc:
            raise _not_connected(exc, place) from exc
        connection = http.client.HTTPConnection(api.host, api.port)
        connection.response_class = self._response_class  # type: ignore[assignment]  # it is only called
        with contextlib.closing(ConnectionDeadline(plain, api.deadline)) as deadline, contextlib.closing(connection):
            connection.sock = self._secured(plain, place)
            yield connection, deadline

    def _secured(self, plain: socket.socket, place: Place) -> socket.socket:
        if self._tls is None:
            return plain
        try:
            return self._tls.wrap_socket(plain, server_hostname=self._api.host)
        except OSError as exc:
            plain.close()
            raise _not_connected(exc, place) from exc

    def _send(
        self, connection: http.client.HTTPConnection, method: str, headers: Mapping[str, str], body: Iterable[bytes],
        place: Place, deadline: ConnectionDeadline,
    ) -> http.client.HTTPResponse | None:  # fmt: skip
        """Sends the request; an answer that came before all of it was sent is returned (a refusal, then)."""
        connection.putrequest("POST", f"{self._api.path}/{method}", skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        pieces = iter(body)
        try:
            connection.endheaders()
            for piece in pieces:
                connection.send(piece)
        except OSError as exc:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return connection.getresponse()
            why = deadline.why() or f"the connection broke ({_said(exc)})"
            raise Transient("the request was not sent whole", where=place, why=why, remedy=_AGAIN) from exc
        return None

    def _response(
        self, connection: http.client.HTTPConnection, place: Place, deadline: ConnectionDeadline
    ) -> http.client.HTTPResponse:
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            raise _unanswered(deadline.why() or _said(exc), place) from exc

    def _body(self, response: http.client.HTTPResponse, place: Place, deadline: ConnectionDeadline) -> Iterator[bytes]:
        """The answer without its wrapping, within its bound."""
        most = self._api.max_answer
        pieces = _bounded(_pieces(response, place, deadline), _WRAPPED * most, most, place)
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding in ("gzip", "x-gzip", "deflate"):
            pieces = _bounded(inflated(pieces), _WRAPPED * most, most, place)
        elif coding not in ("", "identity"):
            raise _unanswered(f"it is packed in a way that was not asked for ({coding[:80]!r})", place)
        for piece in _bounded(unwrapped(dict(response.headers.items()), pieces), most, most, place):
            if piece:
                yield piece


def _bounded(pieces: Iterable[bytes], bound: int, max_answer: int, place: Place) -> Iterator[bytes]:
    """The pieces, counted as they come: an answer may be without end, or become so when it is unpacked."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > bound:
            raise Permanent(
                "the API's answer is too large", where=place, why=f"it has more than {max_answer} bytes",
                remedy="Send or ask for less at once (output.batch, source.limit), or raise `max_answer`.",
            )  # fmt: skip
        yield piece


def _pieces(response: http.client.HTTPResponse, place: Place, deadline: ConnectionDeadline) -> Iterator[bytes]:
    try:
        while piece := response.read1(_PIECE):
            yield piece
    except (OSError, http.client.HTTPException) as exc:
        raise _unanswered(deadline.why() or _said(exc), place) from exc
    if response.length:
        raise _unanswered(deadline.why() or f"the answer ended {response.length} bytes too early", place)


def _with_header(body: Iterable[bytes], header: bytes, place: Place) -> Iterator[bytes]:
    """The envelope with a header put in behind its root's start tag: on the wire only, never in the journal."""
    pieces = iter(body)
    held = b""
    while (found := _ROOT.search(held)) is None:
        piece = next(pieces, None)
        if piece is None or len(held) > _PIECE:
            raise Permanent(
                "the token cannot be put into the request", where=place,
                why="it begins with no <AuroraRequestEnvelope> in an encoding such as UTF-8",
                remedy='Correct the template, or send the token as a header (token_in = "header").',
            )  # fmt: skip
        held += piece
    yield held[: found.end()]
    yield header
    yield held[found.end() :]
    yield from pieces


def _retry_after(response: http.client.HTTPResponse) -> timedelta | None:
    """What `Retry-After` asks for: seconds, or a moment, which is read by the API's own clock (`Date`)."""
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isdecimal() and len(asked) < 9:
        return timedelta(seconds=int(asked))
    due, now = _moment(asked), _moment(response.headers.get("Date", ""))
    return max(timedelta(0), due - now) if due and now else None


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _not_connected(error: OSError, place: Place) -> EndpointError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(
            "the API's certificate is not trusted", where=place, why=error.verify_message or _said(error),
            remedy="Use the name the certificate was made for; if its authority is your own, name its file in `ca`.",
        )  # fmt: skip
    return Transient("the API cannot be reached", where=place, why=_said(error), remedy=_AGAIN)


def _unanswered(why: str, place: Place) -> Unsure:
    return Unsure(
        "the request was sent, and its answer was lost", where=place, why=why,
        remedy="Look in the store whether it was taken, then `release` (send it again) or `discard` the message.",
    )  # fmt: skip


def _said(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "it did not answer in time"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case EndlessFraming():
            return "its answer has lines without end around its body"
        case http.client.RemoteDisconnected():
            return "it ended the connection without an answer"
        case OSError():
            return error.strerror or str(error)
    return f"its answer is no HTTP ({type(error).__name__})"
