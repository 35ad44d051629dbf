"""What an endpoint can do, found out by asking and by trying: its capability card.

Owns the round trip: a small file put, read back, renamed, renamed over another and removed, all under names of its own
that no receiver's mask should match. Leaves nothing behind, raises nothing a server does not raise, decides nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint, Telling
from cegid_daemon.errors import Absent, EndpointError, Exists

_CONTENT = b"cegid-daemon: check --live; may be deleted\n"
_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of one endpoint. Words for people; `yes` and `no` wherever that says it all."""

    facts: Mapping[str, str] = field(default_factory=dict)  # what the server says of itself
    tried: Mapping[str, str] = field(default_factory=dict)  # what the round trip showed
    measured: Mapping[str, str] = field(default_factory=dict)  # what differs at every look

    def lines(self) -> list[tuple[str, str]]:
        """Name and value of everything, in the order to print it."""
        return [*self.tried.items(), *self.facts.items(), *self.measured.items()]


def facts_of(endpoint: Endpoint) -> Mapping[str, str]:
    """What the server says of itself; nothing for a place that is no server."""
    return endpoint.facts() if isinstance(endpoint, Telling) else {}


def card_of(endpoint: Endpoint, folder: str, clock: Callable[[], datetime]) -> Card:
    """The card, with a round trip in `folder`. Raises EndpointError where the endpoint cannot be reached at all."""
    facts = facts_of(endpoint)
    endpoint.list(folder)
    tried, apart = _round_trip(endpoint, folder, clock)
    return Card(facts, tried, {**apart, "latency": _latency(endpoint, folder)})


def _round_trip(
    endpoint: Endpoint, folder: str, clock: Callable[[], datetime]
) -> tuple[dict[str, str], dict[str, str]]:
    name = f".cegid-daemon-check-{uuid.uuid4().hex[:12]}.part"
    other = name.replace("check", "check2")
    try:
        return _tried(endpoint, folder, name, other, clock)
    finally:
        for left in (name, other):
            with suppress(EndpointError):
                endpoint.remove(folder, left)


def _tried(
    endpoint: Endpoint, folder: str, name: str, other: str, clock: Callable[[], datetime]
) -> tuple[dict[str, str], dict[str, str]]:
    try:
        written = endpoint.put(folder, name, [_CONTENT])
    except EndpointError as error:
        return {"write": f"no ({error.why or error.what})"}, {}
    apart = _apart(written.mtime_ns, clock()) if endpoint.abilities.remote and written.mtime_ns else {}
    tried = {"write": "yes", "read": _answer(lambda: _read_back(endpoint, folder, name))}
    tried["rename"] = _answer(lambda: endpoint.rename(folder, name, folder, other, replace=False))
    if tried["rename"] == "yes":
        tried["replace"] = _answer(lambda: _replaced(endpoint, folder, name, other))
        tried["remove"] = _answer(lambda: endpoint.remove(folder, other))
    return tried, apart


def _read_back(endpoint: Endpoint, folder: str, name: str) -> None:
    with endpoint.read(folder, name) as reading:
        if b"".join(reading) != _CONTENT:
            raise Absent("what was read is not what was written", why="other bytes came back")


def _replaced(endpoint: Endpoint, folder: str, name: str, other: str) -> None:
    endpoint.put(folder, name, [_CONTENT])
    endpoint.rename(folder, name, folder, other, replace=True)


def _answer(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except Exists:
        return "no"
    except EndpointError as error:
        return f"no ({error.why or error.what})"
    return "yes"


def _apart(mtime_ns: int, now: datetime) -> dict[str, str]:
    """How far the server's clock is from ours, as its time of a file just written tells: to the second or so."""
    seconds = round(mtime_ns / 1e9 - now.timestamp())
    return {"clock": "as ours" if abs(seconds) <= 2 else f"{abs(seconds)} s {'ahead' if seconds > 0 else 'behind'}"}


def _latency(endpoint: Endpoint, folder: str) -> str:
    """The quickest of a few looks at a name nobody has."""
    times = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        with suppress(EndpointError):
            endpoint.stat(folder, ".cegid-daemon-nobody")
        times.append(time.perf_counter() - began)
    return f"{min(times) * 1000:.1f} ms"
