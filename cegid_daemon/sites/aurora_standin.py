"""A stand-in of the Aurora API on loopback, for demonstrations and tests. Synthetic: it holds no shop's rules.

Takes StockUpdate, ProductAdd, ProductUpdate and OrderUpdate, answers OrderGet by interval and page, and ReportGet for
what it deferred. Refuses a wrong token and requests whose key it was told to refuse. A request id that comes again is
answered again and applied once. Owns its socket and threads, all ended by `stop`; keeps everything in memory.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

_LONGEST = 64 << 20  # bytes of a request
_KEYS = ("VariationReference", "ProductReference", "OrderID")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_PARSER: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False}


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    request_uid: str
    body: bytes
    token: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/xml; charset=utf-8"})


@dataclass(frozen=True, slots=True)
class ExportedOrder:
    """An order the store has: when it was last changed, and its `<Order>` element."""

    changed_at: datetime
    xml: bytes


class AuroraStandIn:
    """The API at `url`, from `start` to `stop`."""

    def __init__(
        self, *, token: str, refuse: Mapping[str, str] | None = None, orders: Sequence[ExportedOrder] = (),
        deferring: bool = False, clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._token = token
        self.refuse = dict(refuse or {})  # key -> reason
        self.orders = list(orders)
        self.deferring = deferring
        self._clock = clock
        self.received: list[Received] = []
        self.applied: list[tuple[str, str, str]] = []  # method, key, stock or blank; a repeated request is not again
        self._known: set[str] = set()
        self._reports: dict[str, list[tuple[str, str]]] = {}  # report -> request id, reason
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="aurora-stand-in")

    @property
    def url(self) -> str:
        """Where it listens, with its version: `http://127.0.0.1:PORT/1.4`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/1.4"

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; every thread has ended when this returns."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> AuroraStandIn:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def handler(self) -> type[StandInHandler]:
        """The class that speaks HTTP with one caller."""
        return type("Handler", (StandInHandler,), {"site": self})

    # -- answers ----------------------------------------------------------------------------------------------------

    def answer(self, request: Received) -> Reply:
        """The answer to one request, which is noted and applied. May be called from several threads."""
        with self._lock:
            self.received.append(request)
            if request.token != self._token:
                return Reply(401, self._envelope("Failure", [], "the token is not known"))
            try:
                root = etree.fromstring(request.body, etree.XMLParser(**_PARSER))
            except etree.XMLSyntaxError:
                return Reply(400, self._envelope("Failure", [], "the request is not XML"))
            return self._answered(request, root)

    def _answered(self, request: Received, root: Any) -> Reply:
        calls = [one for one in root.iter("{*}Request") if len(one) and len(one[0])]
        if request.method == "OrderGet" and calls:
            return Reply(body=self._orders(calls[0]))
        if request.method == "ReportGet" and calls:
            return Reply(body=self._report(calls[0]))
        results = [self._apply(request, call) for call in calls]
        if self.deferring and results:
            self._reports[request.request_uid] = results
            return Reply(body=self._deferred(request.request_uid, results))
        return Reply(body=self._envelope("Success", results))

    def _apply(self, request: Received, call: Any) -> tuple[str, str]:
        """The id of one request and why it is refused; blank: it is not."""
        request_id = _text(call, "RequestID")
        key = next((text for text in (_text(call, name) for name in _KEYS) if text), "")
        reason = self.refuse.get(key, "")
        if not reason and f"{request.request_uid} {request_id}" not in self._known:
            self._known.add(f"{request.request_uid} {request_id}")
            self.applied.append((request.method, key, _text(call, "Stock")))
        return request_id, reason

    def _orders(self, call: Any) -> bytes:
        since = self._clock() - _duration(_text(call, "Interval"))
        limit = int(_text(call, "Limit") or 100)
        first = (int(_text(call, "Page") or 1) - 1) * limit
        found = [order.xml for order in self.orders if order.changed_at >= since][first : first + limit]
        request_id = escape(_text(call, "RequestID"))
        response = f"<Response><RequestID>{request_id}</RequestID><Ack>Success</Ack><Data>".encode()
        return self._around([response + b"".join(found) + b"</Data></Response>"], "Success", 1, 0)

    def _report(self, call: Any) -> bytes:
        results = self._reports.get(_text(call, "ReportID"), [])
        return self._envelope("Success", results)

    def _deferred(self, report: str, results: Sequence[tuple[str, str]]) -> bytes:
        data = f"<Data><ReportID>{escape(report)}</ReportID></Data>"
        responses = [
            f"<Response><RequestID>{escape(one)}</RequestID><Ack>Deferred</Ack>{data}</Response>" for one, _ in results
        ]
        return self._around([one.encode() for one in responses], "Success", len(results), 0)

    def _envelope(self, ack: str, results: Sequence[tuple[str, str]], message: str = "") -> bytes:
        responses = [_response(request_id, reason) for request_id, reason in results]
        errors = sum(1 for _, reason in results if reason)
        return self._around(responses, ack, len(results), errors, message)

    def _around(self, responses: Sequence[bytes], ack: str, count: int, errors: int, message: str = "") -> bytes:
        said = f"<Message>{escape(message)}</Message>" if message else ""
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<AuroraResponseEnvelope><Header><Version>1.4</Version>'
            f"<Timestamp>{self._clock():%Y-%m-%dT%H:%M:%S+00:00}</Timestamp><Summary><Ack>{ack}</Ack>"
            f"<RequestsProcessed>{count}</RequestsProcessed><RequestsSucceeded>{count - errors}</RequestsSucceeded>"
            f"<RequestErrors>{errors}</RequestErrors>{said}</Summary></Header><Responses>"
        )
        return head.encode() + b"".join(responses) + b"</Responses></AuroraResponseEnvelope>\n"


def _response(request_id: str, reason: str) -> bytes:
    ack = "Failure" if reason else "Success"
    data = f"<Data><Error>{escape(reason)}</Error></Data>" if reason else "<Data/>"
    return f"<Response><RequestID>{escape(request_id)}</RequestID><Ack>{ack}</Ack>{data}</Response>".encode()


def _text(call: Any, name: str) -> str:
    found = next((one for one in call.iter("{*}" + name) if not len(one)), None)
    return (found.text or "").strip() if found is not None else ""


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        return timedelta(days=36500)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


class StandInHandler(BaseHTTPRequestHandler):
    """Reads one request and writes one reply."""

    site: AuroraStandIn
    timeout = 30

    def do_POST(self) -> None:
        """What the server calls for a POST."""
        length = int(self.headers.get("Content-Length", "0"))
        if length > _LONGEST:
            self.send_error(413)
            return
        request = Received(
            self.path.rpartition("/")[2], self.headers.get("X-Request-ID", ""), self.rfile.read(length),
            self.headers.get("X-AURORA-AUTH-TOKEN", ""),
        )  # fmt: skip
        if len(request.body) == length:
            self.reply(request)

    def reply(self, request: Received) -> None:
        """Answers a request that came whole."""
        self.write(self.site.answer(request))

    def write(self, reply: Reply) -> None:
        """Sends a reply."""
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the stand-in's own list of requests is enough."""
