"""One pass over one source at `now`: what lies there, what is whole, what is open; taken, claimed, carried.

Owns the way from a listing to claimed messages and hands them to the pipeline in batches. The listing minus the journal
is the truth, an event only a reason to look. Keeps between passes only what may be forgotten: which file is still
settling, what is failing. One pass of a source runs at a time.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import (
    Absent,
    BadInput,
    CegidDaemonError,
    EndpointError,
    JournalUnavailable,
    SourceChanged,
    Transient,
)
from cegid_daemon.journal import Journal
from cegid_daemon.journal.ledger import Taking
from cegid_daemon.journal.payloads import Staged
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Fault, Identity, Listed, Route, SourceSpec, State, Store, escape_name
from cegid_daemon.pipeline import Carried, Pipeline, Prepared
from cegid_daemon.timing import Look, Settling
from cegid_daemon.trouble import Troubles

log = logging.getLogger(__name__)
_T = TypeVar("_T")

BATCH_FILES = 64  # messages that share their commits
BATCH_BYTES = 4 << 20  # received bytes of one batch; a larger file goes alone
SMALL = 256 << 10  # bytes: handed to the workshop directly instead of through the journal
_CLEAR_EVERY = timedelta(hours=1)  # target folders are looked through for temporaries that nobody needs any more
SWEEP = timedelta(seconds=2)  # a local folder is looked at this often, whatever the events say


@dataclass(slots=True)
class Passed:
    """What one pass came to: what an operator should know, and when to look again."""

    next_look: datetime
    settling: int = 0
    claimed: int = 0
    delivered: int = 0
    faults: list[CegidDaemonError] = field(default_factory=list)  # places not reached, files not readable
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    stopped: dict[int, tuple[Message, CegidDaemonError]] = field(default_factory=dict)  # waiting, held or unsure


class Source:
    """One source and the routes that share it."""

    def __init__(
        self, routes: Sequence[Route], stores: Mapping[str, Store], endpoint: Endpoint, journal: Journal,
        pipeline: Pipeline, troubles: Troubles,
        clock: Callable[[], datetime], stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.routes = tuple(routes)
        self._stores = stores
        self.spec: SourceSpec = routes[0].source
        self.endpoint = endpoint
        self._journal = journal
        self._pipeline = pipeline
        self._troubles = troubles
        self._clock = clock
        self._stopping = stopping
        self._settling = Settling(self.spec, remote=endpoint.abilities.remote)
        self._unread: set[str] = set()  # names of files that could not be read at the last look
        self._begun = False
        self._clear_at = clock()

    @property
    def place(self) -> str:
        """The place and the folder; several sources may share them."""
        return f"{self.endpoint.where}/{self.spec.folder}".rstrip("/")

    @property
    def name(self) -> str:
        """How the log calls it: the place, the folder and, unless it takes everything, the masks. Unique."""
        masks = ", ".join(self.spec.match)
        return self.place if masks == "*" else f"{self.place} ({masks})"

    def look(self, *, patient: bool = True) -> Passed:
        """One pass. `patient=False` tries what waits now, whatever its next try says (`once`).

        Never raises for a place that fails: that is noted in the result and tried again with growing pauses.
        """
        try:
            passed = self._pass(patient)
        except (EndpointError, JournalUnavailable) as error:
            now = self._clock()
            if isinstance(error, EndpointError):
                self._pipeline.contacts.failed(self.spec.endpoint, str(error), now)
            return Passed(self._troubles.failed(self.name, error, self.routes[0].retry, now), faults=[error])
        self._troubles.worked(self.name)
        self._pipeline.contacts.worked(self.spec.endpoint, self._clock())
        return passed

    def _pass(self, patient: bool) -> Passed:
        now = self._clock()
        passed = Passed(now + (self.spec.poll if self.endpoint.abilities.remote else SWEEP))
        self._file_pending(passed, now, patient)
        self._clear_targets(now)
        for route in self.routes:
            if self._enabled(route):
                self._carry_open(route, passed, patient)
        if any(map(self._enabled, self.routes)):
            self._take_new(passed, now)
        return passed

    def _enabled(self, route: Route) -> bool:
        return self._journal.book.settings.enabled(self._stores[route.store])

    # -- what is open -----------------------------------------------------------------------------------------------

    def _file_pending(self, passed: Passed, now: datetime, patient: bool) -> None:
        """The first time wherever the files lie: the source may have been another before the configuration changed."""
        subject = f"{self.name}: filing away"
        if not patient or self._troubles.due(subject, now):
            here = (self.endpoint.where, self.spec.folder) if self._begun else None
            carried = self._pipeline.file_pending([route.name for route in self.routes], now, here)
            self._begun = True
            self._note_unfiled(carried, passed, now)
            if not carried.unfiled:
                self._troubles.worked(subject)

    def _note_unfiled(self, carried: Carried, passed: Passed, now: datetime) -> None:
        if carried.unfiled:
            passed.faults += carried.unfiled
            self._troubles.failed(f"{self.name}: filing away", carried.unfiled[0], self.routes[0].retry, now)

    def _clear_targets(self, now: datetime) -> None:
        if now < self._clear_at:
            return
        self._clear_at = now + _CLEAR_EVERY
        for route in self.routes:
            with contextlib.suppress(EndpointError):  # told where it stops messages
                self._pipeline.clear_target(route)

    def _carry_open(self, route: Route, passed: Passed, patient: bool) -> None:
        """Carries what is open on a route, in order, until something must wait."""
        tried: set[int] = set()
        while not self._stopping():
            found = self._journal.ledger.open_messages(route.name, BATCH_FILES)
            batch = self._due(found, passed, patient, tried)
            if not batch:
                return
            tried.update(message.id for message in batch)
            self._note(route, self._pipeline.carry(route, batch, {}, self._clock()), passed)

    def _due(self, found: Sequence[Message], passed: Passed, patient: bool, tried: set[int]) -> list[Message]:
        """The messages to carry now: up to the first that waits for its time or for a person."""
        now = self._clock()
        batch: list[Message] = []
        for message in found:
            if message.state in (State.HELD, State.UNSURE) or message.id in tried:
                self._note_stopped(message, passed)
                break
            if patient and message.next_try_at is not None and message.next_try_at > now:
                passed.next_look = min(passed.next_look, message.next_try_at)
                self._note_stopped(message, passed)
                break
            batch.append(message)
        return _within_bounds(batch, lambda message: message.size)

    def _note_stopped(self, message: Message, passed: Passed) -> None:
        fault = message.fault or Fault("", "waits")
        passed.stopped.setdefault(message.id, (message, Transient(fault.what, why=fault.why, remedy=fault.remedy)))

    def _note(self, route: Route, carried: Carried, passed: Passed) -> None:
        now = self._clock()
        passed.delivered += carried.delivered
        passed.failed += carried.failed
        self._note_unfiled(carried, passed, now)
        subject = f"route {route.name}"
        if carried.stopped:
            message, error = carried.stopped
            passed.stopped[message.id] = (message, error)
            passed.next_look = min(passed.next_look, self._troubles.failed(subject, error, route.retry, now))
        elif carried.delivered:
            self._troubles.worked(subject)

    # -- what is new ------------------------------------------------------------------------------------------------

    def _take_new(self, passed: Passed, now: datetime) -> None:
        listing = self._list()
        self._forget_unread(listing)
        look = self._look_at(listing, now)
        if look.look_again is not None:
            passed.settling = look.settling
            passed.next_look = min(passed.next_look, look.look_again)
        for odd in look.odd:
            log.warning(
                "%s is no regular file (a link, pipe or folder) and stays where it lies", self._subject(odd.name)
            )
        files = [ready.file for ready in look.ready]
        batches = list(_batches(files, lambda file: file.identity.size, self._batch_files()))
        if len(batches) == 1:
            self._finish(self._take(batches[0], passed), passed)
        elif batches:
            self._take_many(batches, passed)

    def _take_many(self, batches: Sequence[Sequence[Listed]], passed: Passed) -> None:
        """Takes and rewrites the next batch while the last one is delivered: one waits for workers, one for disks."""
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
            coming = ahead.submit(self._take, batches[0], passed)
            for following in (*batches[1:], None):
                prepared = coming.result()
                if self._stopping():
                    passed.next_look = self._clock()
                    following = None  # noqa: PLW2901
                if following is not None:
                    coming = ahead.submit(self._take, following, passed)
                self._finish(prepared, passed)
                if following is None:
                    return

    def _forget_unread(self, listing: Sequence[Listed]) -> None:
        """A file that was taken away again is no trouble any more."""
        for name in self._unread.difference(one.name for one in listing):
            self._troubles.forget(self._subject(name))
            self._unread.discard(name)

    def _subject(self, name: str) -> str:
        return f"{self.place}/{escape_name(name)}"

    def _list(self) -> list[Listed]:
        try:
            return self.endpoint.list(self.spec.folder)
        except Absent as exc:
            raise Transient(
                f"the folder {self.place} is not there",
                remedy="Make it (or mount it) again; files in it are then taken by themselves.",
            ) from exc

    def _look_at(self, listing: Sequence[Listed], now: datetime) -> Look:
        if not listing:
            return self._settling.look((), now)
        known = self._journal.ledger.sources(self.endpoint.where, self.spec.folder)
        left = self._journal.ledger.left(self.endpoint.where, self.spec.folder) if self.spec.after == "leave" else set()
        fresh = [one for one in listing if one.name not in known and (one.name, one.identity) not in left]
        return self._settling.look(fresh, now)

    def _batch_files(self) -> int:
        """Records delivered once must be known before the next file is rewritten: then one file at a time."""
        return 1 if any(route.source.unique for route in self.routes) else BATCH_FILES

    def _take(self, batch: Sequence[Listed], passed: Passed) -> list[Prepared]:
        """Reads, claims and rewrites some files; those that cannot be read now stay where they are."""
        takings = [taking for taking in (self._read(file, passed) for file in batch) if taking is not None]
        if not takings:
            return []
        claimed = self._claim(takings)
        passed.claimed += len(takings)
        self._refuse_too_large(claimed, takings, passed)
        return [
            self._prepare(route, claimed, takings)
            for route in self.routes
            if self._enabled(route) and not self._blocked(route, passed)
        ]

    def _finish(self, prepared: Sequence[Prepared], passed: Passed) -> None:
        """Delivers what was taken, unless the route was blocked meanwhile."""
        for one in prepared:
            blocked = self._blocked(one.route, passed)
            self._note(one.route, self._pipeline.finish(one, self._clock(), deliver=not blocked), passed)

    def _blocked(self, route: Route, passed: Passed) -> bool:
        return any(message.route == route.name for message, _ in passed.stopped.values())

    def _prepare(self, route: Route, claimed: Sequence[Sequence[int]], takings: Sequence[Taking]) -> Prepared:
        raws = {}
        for ids, taking in zip(claimed, takings, strict=True):
            if taking.raw is not None:
                raws.update(dict.fromkeys(ids, taking.raw))
        mine = {id_ for ids in claimed for id_ in ids}
        batch = [one for one in self._journal.ledger.messages(sorted(mine)) if one.route == route.name]
        return self._pipeline.prepare(route, batch, raws, self._clock())

    def _refuse_too_large(self, claimed: Sequence[Sequence[int]], takings: Sequence[Taking], passed: Passed) -> None:
        large = [
            (id_, taking.identity.size)
            for ids, taking in zip(claimed, takings, strict=True)
            if self._too_large(taking.identity)
            for id_ in ids
        ]
        if large:
            errors = {id_: _too_large(size, self.spec.max_size) for id_, size in large}
            carried = self._pipeline.refuse(errors, self._clock())
            passed.failed += carried.failed
            self._note_unfiled(carried, passed, self._clock())

    def _too_large(self, identity: Identity) -> bool:
        return 0 < self.spec.max_size < identity.size

    def _read(self, file: Listed, passed: Passed) -> Taking | None:
        subject = self._subject(file.name)
        try:
            taking = self._read_whole(file)
        except (SourceChanged, Absent) as error:
            log.debug("%s: %s; looked at again", subject, error)
            passed.next_look = min(passed.next_look, self._clock() + self.spec.settle)
            passed.settling += 1
        except EndpointError as error:
            self._troubles.failed(subject, error, self.routes[0].retry, self._clock())
            self._unread.add(file.name)
            passed.faults.append(error)
        else:
            self._troubles.worked(subject)
            self._unread.discard(file.name)
            return taking
        return None

    def _read_whole(self, file: Listed) -> Taking | None:
        with self.endpoint.read(self.spec.folder, file.name) as reading:
            if not reading.identity.same_file(file.identity):
                raise SourceChanged(f"{escape_name(file.name)} changed since it was listed")
            staged, raw = self._stage(file, () if self._too_large(file.identity) else reading)
            taking = Taking(
                self.spec.endpoint, self.endpoint.where, self.spec.folder, file.name, reading.identity, staged, raw
            )
        if self.spec.after == "leave" and self._journal.ledger.left_before(taking):
            self._journal.payloads.discard(staged)  # only its owner or its rights changed
            return None
        return taking

    def _stage(self, file: Listed, reading: Iterable[bytes]) -> tuple[Staged, bytes | None]:
        if file.identity.size > SMALL:
            return self._journal.payloads.stage_bytes(reading), None
        raw = b"".join(reading)
        return self._journal.payloads.stage_bytes([raw]), raw

    def _claim(self, takings: Sequence[Taking]) -> list[list[int]]:
        """The ids of the new messages, for each file one a route. Durable when this returns."""
        settings = self._journal.book.settings
        logged = {route.store: settings.log_requests(self._stores[route.store]) for route in self.routes}
        now = self._clock()
        try:
            with self._journal.connection.transaction():
                claimed = [self._journal.ledger.claim(taking, self.routes, logged, now) for taking in takings]
        except BaseException:
            for taking in takings:
                self._journal.payloads.discard(taking.staged)
            raise
        for ids in claimed:
            self._pipeline.rewriting.began(ids)
        return claimed


def _too_large(size: int, bound: int) -> BadInput:
    return BadInput(
        f"the file has {size} bytes; the route takes at most {bound}",
        why="it was not read",
        remedy="Split the file, or raise max_size of the source.",
    )


def _within_bounds(items: Sequence[_T], size: Callable[[_T], int]) -> list[_T]:
    """The first batch of `items`."""
    return next(iter(_batches(items, size, BATCH_FILES)), [])


def _batches(items: Sequence[_T], size: Callable[[_T], int], most: int) -> Iterator[list[_T]]:
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
