"""Sources that are APIs: asked at their times for what is new, page by page; and the answers to what was posted.

Owns when an API is asked, how far back, and when a poll is complete: only after every page is claimed is the time noted
from which the next one asks. Pages are asked for until one brings nothing new, whatever size the API gives them.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import IO

from ulid import ULID

from cegid_daemon.carrying import SWEEP, Carrying, Passed
from cegid_daemon.clock import BootClock, Reading, boot_time
from cegid_daemon.endpoints.protocol import Poster
from cegid_daemon.errors import BadInput, EndpointError, MessageError, Permanent, Place, TemplateFault
from cegid_daemon.journal import Journal
from cegid_daemon.model import Route, SourceSpec, Store
from cegid_daemon.pipeline import Pipeline
from cegid_daemon.pipeline.envelopes import method_of, records_in, refusal_of
from cegid_daemon.pipeline.posting import fault_of
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.recipe import Recipe, Templates
from cegid_daemon.rewrite.templates import compile as compile_template
from cegid_daemon.trouble import Troubles

log = logging.getLogger(__name__)

_MOST_PAGES = 10_000
_PIECE = 256 * 1024
_IN_MEMORY = 8 << 20  # bytes of one page


class Poll:
    """An API that is asked for what is new, and the routes that share the answers."""

    def __init__(
        self, routes: Sequence[Route], stores: Mapping[str, Store], api: Poster, request: Templates, recipe: Recipe,
        journal: Journal, pipeline: Pipeline, troubles: Troubles, spool: Path, clock: Callable[[], datetime],
        stopping: Callable[[], bool], boot_clock: BootClock = boot_time,
    ) -> None:  # fmt: skip
        self.routes = tuple(routes)
        self.spec: SourceSpec = routes[0].source
        self.endpoint = api
        self._stores = stores
        self._request = request
        self._layout = recipe.layout
        self._journal = journal
        self._pipeline = pipeline
        self._troubles = troubles
        self._spool = spool
        self._clock = clock
        self._boot_clock = boot_clock
        self._stopping = stopping
        self._carrying = Carrying(self.name, self.routes, stores, journal, pipeline, troubles, clock, stopping)

    @property
    def name(self) -> str:
        """How the log calls it: the API and what it is asked."""
        return f"{self.endpoint.where} ({self.spec.request})"

    def look(self, *, patient: bool = True) -> Passed:
        """One pass: carries what is open, and asks the API if it is time (`patient=False`: in any case)."""
        return self._carrying.look(
            lambda passed, now: self._ask_if_due(passed, now, patient), patient=patient, rest=SWEEP
        )

    def _ask_if_due(self, passed: Passed, now: datetime, patient: bool) -> None:
        began = Reading(now, self._boot_clock())
        passed_since = self._journal.polls.since_last(self.name, began)
        if patient and (
            (passed_since is not None and passed_since < self.spec.poll) or not self._troubles.due(self.name, now)
        ):
            return
        try:
            self._ask(passed_since, began, passed)
        except (EndpointError, BadInput, TemplateFault) as error:
            if isinstance(error, MessageError) and any(route.log.redact for route in self.routes):
                error = masking.withheld(error)
            passed.faults.append(error)
            self._troubles.failed(self.name, error, self.routes[0].retry, now)
            self._pipeline.contacts.failed(self.spec.endpoint, str(error), now)
        else:
            self._troubles.worked(self.name)
            self._pipeline.contacts.worked(self.spec.endpoint, now)

    def _ask(self, passed_since: timedelta | None, reading: Reading, passed: Passed) -> None:
        """Asks for every page and claims those that bring something new."""
        interval = passed_since + self.spec.overlap if passed_since is not None else self.spec.reach
        began = reading.wall
        met: set[bytes] = set()
        for number in count(1):
            if self._stopping():
                return
            if number > _MOST_PAGES:
                raise Permanent("the API gives pages without end", where=Place(file=self.name),
                                remedy="Raise source.limit, or correct the request's paging.")  # fmt: skip
            with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._spool)) as page:
                method = self._fetch(number, interval, began, page)
                if not self._brings_news(page, met):
                    break
                self._claim(f"{method}_{began:%Y%m%d_%H%M%S}_p{number}.xml", page, passed)
        self._journal.polls.complete(self.name, reading)

    def _fetch(self, number: int, interval: timedelta, now: datetime, page: IO[bytes]) -> str:
        """Puts one page into the file `page`; returns the method that was asked."""
        route = self.routes[0]
        names = {
            "now": now, "interval": iso_duration(interval), "page": number, "limit": self.spec.limit,
            "route": route.name, "store": route.store,
        }  # fmt: skip
        body = "".join(compile_template(self._request).render(names)).encode()
        method = method_of(lambda: [body])
        with self.endpoint.post(method, [body], len(body), str(ULID())) as answer:
            for piece in answer.body:
                page.write(piece)
            fault = fault_of(answer.status, answer.retry_after, self.endpoint, method)
        if fault is not None:
            raise fault
        if refusal := refusal_of(lambda: _pieces(page)):
            raise Permanent(f"the API refused {method}", where=Place(file=self.name), why=refusal,
                            remedy="Correct what it names (template, token).")  # fmt: skip
        return method

    def _brings_news(self, page: IO[bytes], met: set[bytes]) -> bool:
        """Whether a page holds a record that no earlier page of this poll held. All of them are met then."""
        before = len(met)
        for record in records_in(self._layout, lambda: _pieces(page)):
            met.add(hashlib.blake2b(repr(sorted(record.items())).encode("utf-8", "replace"), digest_size=16).digest())
        return len(met) > before

    def _claim(self, name: str, page: IO[bytes], passed: Passed) -> None:
        """Makes a message of a page for each route, and carries it on."""
        routes = [route for route in self.routes if self._carrying.enabled(route)]
        staged = self._journal.payloads.stage_bytes(_pieces(page))
        now = self._clock()
        with self._journal.connection.transaction():
            for route in routes:
                logged = self._journal.book.settings.log_requests(self._stores[route.store])
                self._journal.claims.claim_answer(route, name, staged, logged=logged, now=now)
        passed.claimed += 1
        for route in routes:
            self._carrying.carry_open(route, passed, patient=True)


class Replies:
    """The API's answers to what one route posted: carried to CEGID or into the log, and asked for where deferred."""

    def __init__(
        self, route: Route, posting: Route, stores: Mapping[str, Store], api: Poster, journal: Journal,
        pipeline: Pipeline, troubles: Troubles, clock: Callable[[], datetime], stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.routes = (route,)
        self.spec = route.source
        self.endpoint = api
        self._posting = posting
        self._pipeline = pipeline
        self._carrying = Carrying(self.name, self.routes, stores, journal, pipeline, troubles, clock, stopping)

    @property
    def name(self) -> str:
        """How the log calls it."""
        return f"{self.endpoint.where} (answers to {self.routes[0].answers})"

    def look(self, *, patient: bool = True) -> Passed:
        """One pass."""
        return self._carrying.look(lambda passed, now: self._follow(passed, now, patient), patient=patient, rest=SWEEP)

    def _follow(self, passed: Passed, now: datetime, patient: bool) -> None:
        followed = self._pipeline.follow(self._posting, now, patient=patient)
        for error in followed.errors:
            log.warning("%s: %s", self.name, error)
        passed.faults += followed.errors
        passed.refused += followed.refused
        self._carrying.carry_open(self.routes[0], passed, patient)


def iso_duration(span: timedelta) -> str:
    """A span as ISO 8601 says it, in whole seconds, rounded up: `PT15M`, `P1DT2H`."""
    left = max(1, -(-span // timedelta(seconds=1)))
    days, left = divmod(left, 86_400)
    parts = [
        f"{value}{unit}" for value, unit in ((left // 3600, "H"), (left // 60 % 60, "M"), (left % 60, "S")) if value
    ]
    return f"P{days}D" * bool(days) + ("T" if days else "PT") * bool(parts) + "".join(parts)


def _pieces(page: IO[bytes]) -> Iterator[bytes]:
    page.seek(0)
    while piece := page.read(_PIECE):
        yield piece
