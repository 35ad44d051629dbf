"""What is open on the routes of one source, carried as far as it goes, whatever kind of source it is.

Owns the order of a pass (filed away, carried, then taken), which open messages are due, and what a pass came to. Keeps
between passes only what may be forgotten. Takes nothing itself: where new messages come from is its caller's affair.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from cegid_daemon.clock import is_due
from cegid_daemon.endpoints.protocol import Reachable
from cegid_daemon.errors import CegidDaemonError, EndpointError, JournalUnavailable, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Fault, Route, SourceSpec, State, Store
from cegid_daemon.pipeline import Carried, Pipeline
from cegid_daemon.trouble import Troubles

UNFILED = "not filed away"  # the kind of a notice
_T = TypeVar("_T")
log = logging.getLogger(__name__)

BATCH_FILES = 64  # messages that share their commits
BATCH_BYTES = 4 << 20  # received bytes of one batch; a larger file goes alone
SWEEP = timedelta(seconds=2)  # the journal and local folders are looked at this often, whatever events say
_CLEAR_EVERY = timedelta(hours=1)  # target folders are looked through for temporaries that nobody needs any more
_OVERTAKEN = Fault(
    "Overtaken", "it was open when its route was gone, and newer files have gone out on the route that takes it over",
    why="what it says may be older than they are",
    remedy="Look at it: `cegid-daemon release ID` sends it all the same, `cegid-daemon discard ID` closes it.",
)  # fmt: skip


@dataclass(slots=True)
class Passed:
    """What one pass came to: what an operator should know, and when to look again."""

    next_look: datetime
    settling: int = 0
    taking_ended: bool = False  # a file could not be read: those behind it wait
    claimed: int = 0
    delivered: int = 0
    faults: list[CegidDaemonError] = field(default_factory=list)  # places not reached, files not readable
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    refused: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # by the receiver, in part or whole
    stopped: dict[int, tuple[Message, CegidDaemonError]] = field(default_factory=dict)  # waiting, held or unsure
    held: dict[int, tuple[Message, CegidDaemonError]] = field(default_factory=dict)  # held, and those behind go on


class Looked(Protocol):
    """Something that is looked at again and again, and gives messages or news of them."""

    @property
    def routes(self) -> Sequence[Route]:
        """The routes it is looked at for."""

    @property
    def spec(self) -> SourceSpec:
        """How it is configured."""

    @property
    def endpoint(self) -> Reachable:
        """Where it looks."""

    @property
    def name(self) -> str:
        """How the log calls it; unique."""

    def look(self, *, patient: bool = True) -> Passed:
        """One pass; never raises for a place that fails. `patient=False`: whatever waits is tried now."""


class Carrying:
    """The routes of one source, and what is open on them."""

    def __init__(
        self, name: str, routes: Sequence[Route], stores: Mapping[str, Store], journal: Journal, pipeline: Pipeline,
        troubles: Troubles, clock: Callable[[], datetime], stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._name = name
        self._routes = routes
        self._stores = stores
        self._journal = journal
        self._pipeline = pipeline
        self._troubles = troubles
        self._clock = clock
        self._stopping = stopping
        self._adopted = False  # what an earlier configuration left to these routes is theirs now
        self._unfiled = True  # an earlier process may have told of files that could not be filed away
        self._elsewhere = True  # files of these routes may lie where the source was before
        self._clear_at = clock()
        self._enabled: Sequence[Route] = ()
        self._settled_at: tuple[int, int] | None = None  # the journal's version when nothing was open here

    def look(
        self, take: Callable[[Passed, datetime], None], *, patient: bool, rest: timedelta,
        here: tuple[str, str] | None = None,
    ) -> Passed:  # fmt: skip
        """One pass: files away, carries what is open, then lets `take` take what is new if a store is enabled.

        `rest` is the time to the next look, `here` the place and folder of the files, where it takes files. Never
        raises for a place that fails: that is noted in the result and tried again with growing pauses.
        """
        endpoint = self._routes[0].source.endpoint
        try:
            passed = self._pass(take, patient, rest, here)
        except (EndpointError, JournalUnavailable) as error:
            now = self._clock()
            if isinstance(error, EndpointError):
                self._pipeline.contacts.failed(endpoint, str(error), now)
            return Passed(self._troubles.failed(self._name, error, self._routes[0].retry, now), faults=[error])
        self._troubles.worked(self._name)
        if here is not None:
            self._pipeline.contacts.worked(endpoint, self._clock())
        return passed

    def _pass(
        self, take: Callable[[Passed, datetime], None], patient: bool, rest: timedelta, here: tuple[str, str] | None
    ) -> Passed:
        now = self._clock()
        passed = Passed(now + rest)
        if not self._adopted:
            self._adopt(now, here)
        if here is not None:
            self._recheck(passed, here, now, patient)
        version = self._journal.connection.version()
        if version != self._settled_at:  # else nothing was written since, and an idle source costs one question
            self._settled_at = version if self._settle(passed, now, patient, here) else None
        self._clear_targets(now)
        if self._enabled:
            take(passed, now)
        return passed

    def _adopt(self, now: datetime, here: tuple[str, str] | None) -> None:
        """Takes over what the configuration says has become of routes, stores and folders. Once; harmless again."""
        for route in self._routes:
            self._take_over(route, now)
            if moved := self._journal.moves.update_store(route, now):
                log.warning("Route %s: %d message(s) not rewritten yet go to store %s now.",
                            route.name, moved, route.store)  # fmt: skip
            if route.moved_from and route.log.redact:
                self._journal.masking.expect(route.name, route.log.redact)
        if here is not None:
            self._journal.sources.rehome(*here)
        self._adopted = True

    def _take_over(self, route: Route, now: datetime) -> None:
        """Gives the route what it moved from. What its own newer messages went out before is held for a person."""
        if not route.moved_from:
            return
        with self._journal.connection.transaction():
            overtaken = self._journal.moves.overtaken(route)
            taken = self._journal.moves.take_over(route, now)
            for message in overtaken:
                self._journal.ledger.hold_overtaken(message, _OVERTAKEN)
        if taken:
            held = f" Held, as newer ones of the route went out before: {len(overtaken)}." if overtaken else ""
            old = ", ".join(route.moved_from)
            log.warning("Route %s takes over %d open message(s) of %s.%s", route.name, taken, old, held)

    def _recheck(self, passed: Passed, here: tuple[str, str], now: datetime, patient: bool) -> None:
        """Looks again at what was filed away a moment ago: its sender may still be writing."""
        rechecked = self._pipeline.recheck(*here, now, patient=patient)
        passed.faults += rechecked.errors
        passed.settling += rechecked.settling
        if rechecked.next_at is not None and rechecked.settling:
            passed.next_look = min(passed.next_look, max(now, rechecked.next_at))

    def _settle(self, passed: Passed, now: datetime, patient: bool, here: tuple[str, str] | None) -> bool:
        """Files away and carries what is open; whether nothing is."""
        settled = self._take_back(passed, now, patient)
        filed = self._file_pending(passed, now, patient, here) and settled
        self._enabled = [route for route in self._routes if self.enabled(route)]
        carried = [self.carry_open(route, passed, patient) for route in self._enabled]
        self._note_disabled(passed)
        self.note_held(self._journal.ledger.held_aside([route.name for route in self._routes]), passed)
        return filed and all(carried)

    def _note_disabled(self, passed: Passed) -> None:
        """Notes the first open message of each route whose store takes no part: it waits, and those behind it."""
        for route in self._routes:
            if route in self._enabled:
                continue
            for message in self._journal.ledger.open_messages(route.name, 1):
                if message.state in (State.HELD, State.UNSURE):
                    self._note_stopped(message, passed)
                else:
                    passed.stopped.setdefault(message.id, (message, _disabled(route)))

    def note_held(self, messages: Sequence[Message], passed: Passed) -> None:
        """Notes messages that are held for a person while those behind them go on."""
        passed.held.update((message.id, (message, _error_of(message, "is held"))) for message in messages)

    def enabled(self, route: Route) -> bool:
        """Whether the route's store takes part now."""
        return self._journal.book.settings.enabled(self._stores[route.store])

    # -- what is open -----------------------------------------------------------------------------------------------

    def _take_back(self, passed: Passed, now: datetime, patient: bool) -> bool:
        """Takes back what a person discarded on its way; whether nothing of that is left."""
        subject = f"{self._name}: taking back what was discarded"
        if patient and not self._troubles.due(subject, now):
            return False
        errors = self._pipeline.take_back(self._routes, now)
        if errors:
            passed.faults += errors
            self._troubles.failed(subject, errors[0], self._routes[0].retry, now)
        else:
            self._troubles.worked(subject)
        return not errors

    def _file_pending(self, passed: Passed, now: datetime, patient: bool, here: tuple[str, str] | None) -> bool:
        """Here, and where the source was before the configuration changed, as long as files of these routes lie there.

        Whether no file is left to be filed away.
        """
        subject = f"{self._name}: filing away"
        if patient and not self._troubles.due(subject, now):
            return False
        names = [route.name for route in self._routes]
        carried = self._pipeline.file_pending(names, now, None if self._elsewhere else here)
        if here is not None and self._elsewhere:
            self._elsewhere = self._journal.sources.elsewhere(names, here)
        self.note_unfiled(carried, passed)
        if not carried.unfiled:
            self._troubles.worked(subject)
            if self._unfiled:
                self._unfiled = False
                self._journal.notices.clear(UNFILED, self._name)
        return not carried.unfiled

    def note_unfiled(self, carried: Carried, passed: Passed) -> None:
        """Notes files that could not be filed away now."""
        if carried.unfiled:
            passed.faults += carried.unfiled
            subject, policy = f"{self._name}: filing away", self._routes[0].retry
            now = self._clock()
            self._troubles.failed(subject, carried.unfiled[0], policy, now)
            self._unfiled = True
            more = f" ({len(carried.unfiled)} files)" if len(carried.unfiled) > 1 else ""
            self._journal.notices.report(UNFILED, self._name, f"{self._name}: {carried.unfiled[0]}{more}", now)

    def _clear_targets(self, now: datetime) -> None:
        if not is_due(self._clear_at, now, _CLEAR_EVERY):
            return
        self._clear_at = now + _CLEAR_EVERY
        for route in self._routes:
            with contextlib.suppress(EndpointError):  # told where it stops messages
                self._pipeline.clear_target(route)

    def carry_open(self, route: Route, passed: Passed, patient: bool) -> bool:
        """Carries what is open on a route, in order, until something must wait; whether nothing is open any more."""
        tried: set[int] = set()
        while not self._stopping():
            found = self._journal.ledger.open_messages(route.name, most_at_once([route]))
            batch = self._due(found, passed, patient, tried, route.retry.longest)
            if not batch:
                return not found
            tried.update(message.id for message in batch)
            self.note(route, self._pipeline.carry(route, batch, {}, self._clock()), passed)
        return False

    def _due(
        self, found: Sequence[Message], passed: Passed, patient: bool, tried: set[int], longest: timedelta
    ) -> list[Message]:
        """The messages to carry now: up to the first that waits for its time or for a person."""
        now = self._clock()
        batch: list[Message] = []
        for message in found:
            if message.state in (State.HELD, State.UNSURE) or message.id in tried:
                self._note_stopped(message, passed)
                break
            if patient and (until := message.waits_until(now, longest)):
                passed.next_look = min(passed.next_look, until)
                self._note_stopped(message, passed)
                break
            batch.append(message)
        return next(batches(batch, lambda message: message.size, BATCH_FILES), [])

    def _note_stopped(self, message: Message, passed: Passed) -> None:
        passed.stopped.setdefault(message.id, (message, _error_of(message, "waits")))

    def note(self, route: Route, carried: Carried, passed: Passed) -> None:
        """Adds what a batch came to."""
        now = self._clock()
        passed.delivered += carried.delivered
        passed.failed += carried.failed
        passed.refused += carried.refused
        passed.held.update((message.id, (message, error)) for message, error in carried.held)
        self.note_unfiled(carried, passed)
        subject = f"route {route.name}"
        if carried.stopped:
            message, error = carried.stopped
            passed.stopped[message.id] = (message, error)
            passed.next_look = min(passed.next_look, self._troubles.failed(subject, error, route.retry, now))
        elif carried.delivered:
            self._troubles.worked(subject)


def _disabled(route: Route) -> Transient:
    return Transient(
        f"the store {route.store} is disabled, and nothing of its messages is sent",
        remedy=f"`cegid-daemon settings set --store {route.store} enabled true` lets them go on; `discard` closes one.",
    )


def _error_of(message: Message, otherwise: str) -> Transient:
    """What stops a message, as it was kept; `otherwise` where nothing was."""
    fault = message.fault or Fault("", otherwise)
    return Transient(fault.what, why=fault.why, remedy=fault.remedy)


def blocked_in(route: Route, passed: Passed) -> bool:
    """Whether a message of the route waits for its time or for a person, and those behind it with it."""
    return any(message.route == route.name for message, _ in passed.stopped.values())


def most_at_once(routes: Sequence[Route]) -> int:
    """How many messages share a batch: of `unique` records, what one message delivers must be known to the next."""
    return 1 if any(route.source.unique for route in routes) else BATCH_FILES


def batches(items: Sequence[_T], size: Callable[[_T], int], most: int) -> Iterator[list[_T]]:
    """Slices of at most `most` items and BATCH_BYTES; one larger item goes alone."""
    batch: list[_T] = []
    total = 0
    for item in items:
        if batch and (len(batch) >= most or total + size(item) > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch
