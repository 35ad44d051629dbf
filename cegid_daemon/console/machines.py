"""What machines ask: `/health/live`, `/health/ready`, `/metrics` for Prometheus.

Health tells a word and a status, nothing else, to whoever asks. Metrics are for this machine (a
proxy on it apart), or for who sends one of the console's passwords (HTTP Basic, any name).
"""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from cegid_daemon import __version__
from cegid_daemon.console.address import Address
from cegid_daemon.console.ground import Ground, Reading
from cegid_daemon.console.sessions import role_of
from cegid_daemon.console.visit import Desk
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.model import utc_moment

T = TypeVar("T")

_READY_SECONDS = 1.0  # that an answer about the journal holds
_STATES = (
    "received", "rewritten", "delivered", "waiting", "held", "unsure", "failed", "partly refused", "refused",
)  # fmt: skip


async def live(request: Request) -> Response:
    """200 while every thread of the daemon gets on."""
    well = _ground(request).well()
    return PlainTextResponse("alive\n" if well else "stuck\n", 200 if well else 503)


async def ready(request: Request) -> Response:
    """200 while the daemon gets on and its journal can be read and written."""
    ground, readiness = _ground(request), request.app.state.readiness
    return await _aside(request, lambda: readiness.answer(ground))


async def _aside(request: Request, ask: Callable[[], T]) -> T:
    """In threads that no page takes: a probe is answered however many pages are slow."""
    limiter: CapacityLimiter = request.app.state.probes
    return await run_sync(ask, limiter=limiter)


class Readiness:
    """Whether the journal can be written, asked once a second at most: anybody may ask, and each time locks it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asked_at = -math.inf
        self._writable = False

    def answer(self, ground: Ground) -> Response:
        """The answer to a probe."""
        if not ground.well():
            return PlainTextResponse("stuck\n", 503)
        with self._lock:
            if self._monotonic() - self._asked_at >= _READY_SECONDS:
                self._writable = _is_writable(ground)
                self._asked_at = self._monotonic()
            writable = self._writable
        return PlainTextResponse("ready\n") if writable else PlainTextResponse("journal unavailable\n", 503)


def _is_writable(ground: Ground) -> bool:
    try:
        with ground.journal.connection.transaction():
            return True
    except CegidDaemonError:
        return False


def _ground(request: Request) -> Ground:
    desk: Desk = request.app.state.desk
    return desk.ground


async def metrics(request: Request) -> Response:
    """Figures in Prometheus' text format."""
    desk: Desk = request.app.state.desk
    address = request.client.host if request.client else ""
    trusted = not desk.guarded or (Address(address, 0).loopback and not desk.proxied)
    if not trusted and not await _aside(request, lambda: _may_read(request, desk, address)):
        return PlainTextResponse("a password of the console is needed\n", 401, {"www-authenticate": "Basic"})
    try:
        return Response(await _aside(request, lambda: _figures(desk.ground)), media_type=CONTENT_TYPE_LATEST)
    except CegidDaemonError as error:
        return PlainTextResponse(f"{error}\n", 503)


def _may_read(request: Request, desk: Desk, address: str) -> bool:
    typed = basic_password(request.headers.get("authorization", ""))
    if typed is None or desk.limit.wait(address):
        return False
    if role_of(typed, desk.ground.config.console) is None:
        desk.limit.failed(address)
        return False
    desk.limit.worked(address)
    return True


def basic_password(header: str) -> str | None:
    """The password of an Authorization header; None where there is none."""
    scheme, _, coded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(coded, validate=True).decode().partition(":")[2]
    except ValueError:  # no Base64, or no UTF-8; the header may hold characters that are neither
        return None


def _figures(ground: Ground) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    with ground.readers.lend() as reading:
        registry.register(_Collector(list(_families(ground, reading))))
    return bytes(generate_latest(registry))


class _Collector:
    """Figures that were read already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Gives them."""
        return iter(self._families)


def _families(ground: Ground, reading: Reading) -> Iterator[Metric]:
    yield _one("cegid_daemon_up", "1 while every thread of the daemon gets on", float(ground.well()))
    about = GaugeMetricFamily("cegid_daemon_version_info", "The version that runs", labels=["version"])
    about.add_metric([__version__], 1)
    yield about
    yield _one(
        "cegid_daemon_journal_bytes", "Size of the journal's file", float(reading.connection.path.stat().st_size)
    )
    yield from _of_routes(ground, reading)
    yield from _of_endpoints(ground, reading)
    hour = reading.statistics.hours(ground.clock(), 2)[0]
    yield _one("cegid_daemon_last_hour_files", "Files received in the last full hour", float(hour.files))
    if hour.seconds is not None:
        yield _one("cegid_daemon_last_hour_delivery_seconds", "Median time from receipt to done", hour.seconds)


def _one(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)


def _of_routes(ground: Ground, reading: Reading) -> Iterator[Metric]:
    received = CounterMetricFamily("cegid_daemon_messages_received", "Messages ever received", labels=["route"])
    states = GaugeMetricFamily(
        "cegid_daemon_messages", "Messages not done, or refused and not sent again, by state", labels=["route", "state"]
    )
    last = GaugeMetricFamily(
        "cegid_daemon_last_message_timestamp_seconds", "When the newest message was received", labels=["route"]
    )
    oldest = GaugeMetricFamily(
        "cegid_daemon_oldest_open_timestamp_seconds", "When the oldest message not over was received", labels=["route"]
    )
    remarks = CounterMetricFamily("cegid_daemon_remarks", "Remarks on received files", labels=["route"])
    counts, remarked = reading.overview.counts(), reading.overview.remarks()
    for route in dict.fromkeys([*ground.config.routes, *counts]):
        received.add_metric([route], reading.statistics.received(route))
        remarks.add_metric([route], remarked.get(route, 0))
        for state in _STATES:
            states.add_metric([route, state], counts.get(route, {}).get(state, 0))
        newest = reading.overview.last(route)
        if newest is not None:
            last.add_metric([route], newest.received_at.timestamp())
        if (open_since := reading.overview.open_since(route)) is not None:
            oldest.add_metric([route], utc_moment(open_since).timestamp())
    return iter((received, remarks, states, last, oldest))


def _of_endpoints(ground: Ground, reading: Reading) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "cegid_daemon_endpoint_up", "1 if the endpoint answered when last asked", labels=["endpoint"]
    )
    at = GaugeMetricFamily(
        "cegid_daemon_endpoint_last_contact_timestamp_seconds", "When the endpoint last answered", labels=["endpoint"]
    )
    for contact in reading.overview.contacts():
        if contact.endpoint in ground.config.endpoints:
            up.add_metric([contact.endpoint], float(contact.failing_since is None))
            if contact.ok_at:
                at.add_metric([contact.endpoint], utc_moment(contact.ok_at).timestamp())
    return iter((up, at))
