"""The first page: what needs a person, the routes, the endpoints, and the last day as plots."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.responses import Response

from cegid_daemon.console.ground import Reading
from cegid_daemon.console.messages import allowed
from cegid_daemon.console.plots import Plot, bars
from cegid_daemon.console.visit import Visit
from cegid_daemon.journal.overview import Contact
from cegid_daemon.journal.rows import Message
from cegid_daemon.journal.statistics import Hour
from cegid_daemon.model import Route, State, location

_ASIDE = 25  # messages listed that need a person or wait
_REMARKED, _MOST_REMARKED = 10, 1_000  # messages with remarks that are listed, and counted
_HOURS = 24
_KEPT_FOR = 15.0  # seconds the figures of the plots are good for
NEEDS_A_PERSON = ("failed", "held", "unsure", "refused", "partly refused")
_ON_THE_WAY = ("received", "rewritten", "delivered")
_URGENCY = {state: place for place, state in enumerate((*NEEDS_A_PERSON, "waiting"))}  # these routes come first


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route at a glance."""

    name: str
    route: Route | None  # None: no longer configured
    enabled: bool
    counts: Mapping[str, int]
    last: Message | None

    @property
    def state(self) -> str:
        """One word for the worst that is known of it."""
        if self.route is None:
            return "not configured"
        if not self.enabled:
            return "disabled"
        for word in (*NEEDS_A_PERSON, "waiting"):
            if self.counts.get(word):
                return word
        return "working" if any(self.counts.get(one) for one in _ON_THE_WAY) else "idle"

    @property
    def open(self) -> int:
        """Messages on their way by themselves."""
        return sum(self.counts.get(one, 0) for one in _ON_THE_WAY)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint and when it last answered."""

    name: str
    url: str
    contact: Contact | None


class Figures:
    """The figures of the last day, computed once for whoever asks within some seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at: datetime | None = None
        self._hours: Sequence[Hour] = ()

    def hours(self, reading: Reading, now: datetime) -> Sequence[Hour]:
        """The last day by the hour."""
        with self._lock:
            if self._at is None or not 0 <= (now - self._at).total_seconds() < _KEPT_FOR:
                self._hours, self._at = reading.statistics.hours(now, _HOURS), now
            return self._hours


def overview(visit: Visit) -> Response:
    """The whole page, or the part that the script renews."""
    template = "overview_live.html" if visit.asked("part") == "live" else "overview.html"
    return visit.page(template, **_names(visit))


def _names(visit: Visit) -> dict[str, object]:
    config, now = visit.ground.config, visit.ground.clock()
    figures: Figures = visit.request.app.state.figures
    with visit.reading() as reading:
        counts = reading.overview.counts()
        rows = [_route_row(name, visit, reading, counts) for name in dict.fromkeys([*config.routes, *sorted(counts)])]
        people = reading.overview.aside(_ASIDE, NEEDS_A_PERSON)
        waiting = reading.overview.aside(_ASIDE, ("waiting",))
        contacts = {contact.endpoint: contact for contact in reading.overview.contacts()}
        hours = figures.hours(reading, now)
        remarked = reading.overview.remarked(now - timedelta(hours=_HOURS), _MOST_REMARKED)
        waiting_files, notices = reading.waiting_files.all(), reading.notices.active()
    return {
        "rows": sorted(rows, key=lambda row: _URGENCY.get(row.state, len(_URGENCY))),
        "people": people,
        "needs_a_person": NEEDS_A_PERSON,
        "waiting": [message for message in waiting if message.route in config.routes],  # the others: see the notices
        "waiting_files": [(location(one.place, one.folder, one.name), one) for one in waiting_files[:_ASIDE]],
        "more_waiting_files": max(0, len(waiting_files) - _ASIDE),
        "notices": notices,
        "in_need": sum(one.get(state, 0) for one in counts.values() for state in NEEDS_A_PERSON),
        "decisions": {state: allowed(state) for state in State},
        "endpoints": [EndpointRow(name, spec.url, contacts.get(name)) for name, spec in config.endpoints.items()],
        "remarked": remarked[:_REMARKED],
        "remarked_count": f"{len(remarked)}" if len(remarked) < _MOST_REMARKED else f"{_MOST_REMARKED} or more",
        "plots": _plots(hours),
        "well": visit.ground.well(),
    }  # fmt: skip


def _route_row(name: str, visit: Visit, reading: Reading, counts: Mapping[str, Mapping[str, int]]) -> RouteRow:
    config = visit.ground.config
    route = config.routes.get(name)
    enabled = route is None or reading.book.settings.enabled(config.stores[route.store])
    return RouteRow(name, route, enabled, counts.get(name, {}), reading.overview.last(name))


def _plots(hours: Sequence[Hour]) -> list[Plot]:
    starts = [hour.start for hour in hours]
    return [
        bars("Files an hour", starts, [hour.files for hour in hours], "files"),
        bars("Time to deliver", starts, [hour.seconds for hour in hours], "time"),
        bars("Failures", starts, [hour.failed for hour in hours], "failures"),
    ]
