"""What an endpoint can do, found out by asking and by trying: its capability card.

Owns the round trip: a small file put, read back, renamed, renamed over another and removed, with temporary names of the
kinds that targets have. Leaves nothing behind but the folder such names are in, raises nothing a server does not raise,
decides nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint, Telling
from cegid_daemon.errors import Absent, EndpointError, Exists, Taken
from cegid_daemon.temporary import DEFAULT, DIRECT, EXAMPLES, TemporaryPattern

_CONTENT = b"cegid-daemon: check --live; may be deleted\n"
_LOOKS = 3
TEMPORARY = "temporary"  # begins the lines about kinds of temporary names


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


def card_of(endpoint: Endpoint, folder: str, clock: Callable[[], datetime], temporaries: Sequence[str] = ()) -> Card:
    """The card, with a round trip in `folder`. Raises EndpointError where the endpoint cannot be reached at all.

    `temporaries`: the patterns of temporary names that targets in this folder have; each is tried, and where one does
    not work, which others would.
    """
    facts = facts_of(endpoint)
    endpoint.list(folder, lambda _name: False)
    trips = {pattern: _round_trip(endpoint, folder, pattern, clock) for pattern in temporaries or (DEFAULT,)}
    first = next(iter(trips.values()))
    tried = dict(first.tried)
    for pattern in temporaries:
        fault = trips[pattern].fault
        others = _working(endpoint, folder, trips, clock) if fault else ""
        tried[f"{TEMPORARY} {pattern}"] = f"no ({fault}); {others}" if fault else "yes"
    return Card(facts, tried, {**first.apart, "latency": _latency(endpoint, folder)})


def _working(endpoint: Endpoint, folder: str, trips: Mapping[str, _Trip], clock: Callable[[], datetime]) -> str:
    """Which kinds of temporary names would work. One that takes files at once is sent no more of them than needed."""
    if any(trip.taken for trip in trips.values()):
        return f"would work: {DIRECT}"
    known = dict(trips)
    for pattern in EXAMPLES:
        if pattern not in known:
            known[pattern] = _round_trip(endpoint, folder, pattern, clock)
    works = [pattern for pattern, trip in known.items() if not trip.fault]
    return f"would work: {', '.join(works)}" if works else "none of the others works"


@dataclass(slots=True)
class _Trip:
    """What a round trip with one kind of temporary names showed."""

    pattern: str
    tried: dict[str, str] = field(default_factory=dict)
    apart: dict[str, str] = field(default_factory=dict)
    taken: bool = False  # somebody took the file before it was renamed

    @property
    def fault(self) -> str:
        """Why uploads cannot go this way; blank if they can."""
        if self.taken and self.pattern != DIRECT:
            return "the file was taken before it could be renamed"
        steps = ("folder", "write") if self.pattern == DIRECT else ("folder", "write", "rename")
        found = next((said for step in steps if (said := self.tried.get(step, "yes")) != "yes"), "")
        return found.removeprefix("no").strip(" ()") or found


@dataclass(frozen=True, slots=True)
class _Names:
    """Where a trial file is put, and what it is renamed to. Without temporary names both are the same."""

    aside: str  # a folder
    temporary: str
    folder: str
    final: str


def _names(folder: str, pattern: str) -> _Names:
    upload = f"cegid-daemon-check-{uuid.uuid4().hex[:12]}"
    kind = TemporaryPattern(pattern)
    if pattern == DIRECT:
        return _Names(folder, f"{upload}.part", folder, f"{upload}.part")
    aside = "/".join(part for part in (folder, kind.folder) if part)
    temporary, final = (kind.path(one, "name").rpartition("/")[2] for one in (upload, f"{upload}-2"))
    return _Names(aside, temporary, folder, final)


def _round_trip(endpoint: Endpoint, folder: str, pattern: str, clock: Callable[[], datetime]) -> _Trip:
    names, trip = _names(folder, pattern), _Trip(pattern)
    try:
        _try(endpoint, names, trip, clock)
    finally:
        for where, left in ((names.aside, names.temporary), (names.folder, names.final)):
            with suppress(EndpointError):
                endpoint.remove(where, left)
    return trip


def _try(endpoint: Endpoint, names: _Names, trip: _Trip, clock: Callable[[], datetime]) -> None:
    if names.aside != names.folder and (made := _answer(lambda: endpoint.make_folder(names.aside))) != "yes":
        trip.tried["folder"] = made
        return
    try:
        written = endpoint.put(names.aside, names.temporary, [_CONTENT])
    except Taken:
        trip.taken, trip.tried["write"] = True, "yes"
        return
    except EndpointError as error:
        trip.tried["write"] = f"no ({error.why or error.what})"
        return
    trip.tried["write"] = "yes"
    if endpoint.abilities.remote and written.mtime_ns:
        trip.apart = _apart(written.mtime_ns, clock())
    with suppress(EndpointError):
        trip.taken = endpoint.stat(names.aside, names.temporary) is None
    if not trip.taken:
        _try_the_rest(endpoint, names, trip)


def _try_the_rest(endpoint: Endpoint, names: _Names, trip: _Trip) -> None:
    tried, renamed = trip.tried, (names.aside, names.temporary, names.folder, names.final)
    tried["read"] = _answer(lambda: _read_back(endpoint, names.aside, names.temporary))
    if trip.pattern == DIRECT:
        tried["remove"] = _answer(lambda: endpoint.remove(names.folder, names.final))
        return
    tried["rename"] = _answer(lambda: endpoint.rename(*renamed, replace=False))
    if tried["rename"] == "yes":
        tried["replace"] = _answer(lambda: _replaced(endpoint, names))
        tried["remove"] = _answer(lambda: endpoint.remove(names.folder, names.final))


def _read_back(endpoint: Endpoint, folder: str, name: str) -> None:
    with endpoint.read(folder, name) as reading:
        if b"".join(reading) != _CONTENT:
            raise Absent("what was read is not what was written", why="other bytes came back")


def _replaced(endpoint: Endpoint, names: _Names) -> None:
    endpoint.put(names.aside, names.temporary, [_CONTENT])
    endpoint.rename(names.aside, names.temporary, names.folder, names.final, replace=True)


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
