"""One pass over one source at `now`: what lies there, what is whole, what is open; taken, claimed, carried.

Owns the way from a listing to claimed messages and hands them to the pipeline in batches. The listing minus the journal
is the truth, an event only a reason to look. Keeps between passes only what may be forgotten: which file is still
settling, what is failing. One pass of a source runs at a time.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from cegid_daemon.carrying import SWEEP, Carrying, Passed, batches, blocked_in, most_at_once
from cegid_daemon.clock import BootClock, BootTime, JumpDetector, duration_text
from cegid_daemon.endpoints import many
from cegid_daemon.endpoints.many import Fetched
from cegid_daemon.endpoints.protocol import Endpoint, WriterCheck
from cegid_daemon.errors import (
    Absent,
    CegidDaemonError,
    EndpointError,
    SourceChanged,
    Transient,
)
from cegid_daemon.intake import Intake
from cegid_daemon.journal import Journal
from cegid_daemon.journal.sources import Taking
from cegid_daemon.known_files import KnownFiles
from cegid_daemon.listing_faults import ListingFaults
from cegid_daemon.masks import OWNER_MARK, Masks
from cegid_daemon.model import Identity, Listed, Route, SourceSpec, State, Store, WaitReason, escape_name
from cegid_daemon.ownership import FolderClaim, ForeignMark
from cegid_daemon.pipeline import Pipeline, Prepared
from cegid_daemon.timing import Look, Settling
from cegid_daemon.trouble import Troubles
from cegid_daemon.unreadable import UnreadableFiles
from cegid_daemon.waiting import WaitingList

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Source:
    """One source and the routes that share it."""

    def __init__(
        self, routes: Sequence[Route], stores: Mapping[str, Store], endpoint: Endpoint, journal: Journal,
        pipeline: Pipeline, troubles: Troubles,
        clock: Callable[[], datetime], stopping: Callable[[], bool], claim: FolderClaim | ForeignMark | None = None,
        boot_clock: BootClock | None = None, told: MutableMapping[str, set[str]] | None = None,
    ) -> None:  # fmt: skip
        """`claim`: ours on the folder, or that of others in one that we do not mark; None: nobody is asked.

        `boot_clock` None: the wall clock never jumps. `told`: the entries that are no files and of which the process
        told before, by the name of their source.
        """
        self.routes = tuple(routes)
        self._stores = stores
        self.spec: SourceSpec = routes[0].source
        self.endpoint = endpoint
        self._journal = journal
        self._pipeline = pipeline
        self._troubles = troubles
        self._clock = clock
        self._stopping = stopping
        self._jumps = JumpDetector(boot_clock) if boot_clock else None
        irregular = {} if told is None else told
        self._settling = Settling(
            self.spec, remote=endpoint.abilities.remote, told=irregular.setdefault(self.name, set())
        )  # fmt: skip
        self._listing_faults = ListingFaults(journal, troubles, self.place, routes[0].retry)
        self._masks = Masks(self.spec.match, self.spec.ignore)
        self._accepts = self._masks.takes
        self._claim_on_folder = claim
        self.foreign_subject = claim.subject if isinstance(claim, ForeignMark) else ""  # of its notice
        self._waiting = WaitingList(
            journal, endpoint.where, self.spec.folder, [route.name for route in routes], self._accepts,
            boot_clock or (lambda: BootTime("", clock().timestamp())),
        )  # fmt: skip
        self._intake = Intake(routes, endpoint, journal)
        self._known = KnownFiles(routes, endpoint, journal, pipeline, self._accepts)
        self._recalled = False
        self._is_being_written: Callable[[str], bool] = lambda _: False
        self._unreadable = UnreadableFiles(self._waiting, journal.notices, troubles, self.place, routes)
        self._unsettled: set[str] = set()  # files that could not be read before, and are not whole now
        self._passed_over: list[str] = []  # files that could not be read in this look, ahead of what is read next
        self._overtaken: dict[str, list[str]] = {}  # what was passed over, by the name of the file read next
        self._carrying = Carrying(self.name, self.routes, stores, journal, pipeline, troubles, clock, stopping)

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
        here = (self.endpoint.where, self.spec.folder)
        rest = self.spec.poll if self.endpoint.abilities.remote else SWEEP
        return self._carrying.look(self._take_new, patient=patient, rest=rest, here=here)

    def vouch(self, name: str, identity: Identity) -> None:
        """Somebody knows that this file is whole: the next look takes it at once. May be called from any thread."""
        self._settling.vouch(name, identity)

    def hear_of_writers(self, is_being_written: Callable[[str], bool]) -> None:
        """From now on asks whether a file of the folder is being written; any thread may be the one that asks."""
        self._is_being_written = is_being_written

    # -- what is new ------------------------------------------------------------------------------------------------

    def _take_new(self, passed: Passed, now: datetime) -> None:
        listing = self._list()
        if self._is_refused(listing, passed, now):
            return
        passed.faults += self._listing_faults.examine(listing, now)  # before anything is left out of it: see Listing
        listing = [one for one in listing if not one.name.startswith(OWNER_MARK)]
        self._unreadable.begin_look(listing)
        self._passed_over.clear()
        self._overtaken.clear()
        fresh = self._known.fresh(listing)
        self._recall(now)
        if self._jumps is not None and self._jumps.has_jumped(now):
            self._settling.restart(now)
        look = self._settling.look(fresh, now, is_open=self._is_open)
        self._note_waiting(look, listing, passed, now)
        if look.look_again is not None:
            passed.settling += look.settling
            passed.next_look = min(passed.next_look, look.look_again)
        self._listing_faults.report_irregular(look.odd)
        ready = [one.file for one in look.ready if not self._listing_faults.is_resting(one.file.name, now)]
        files = self._in_line(ready, fresh)
        at_once = most_at_once(self.routes)
        chosen = list(batches(files, lambda file: file.identity.size, at_once))
        if len(chosen) > 1 and at_once > 1:
            self._take_many(chosen, passed)
        else:
            self._take_in_turn(chosen, passed)
        self._unreadable.hold_up(files if passed.taking_ended else (), now)

    def _is_refused(self, listing: Sequence[Listed], passed: Passed, now: datetime) -> bool:
        """Whether the folder is another daemon's and nothing may be taken."""
        claim = self._claim_on_folder
        if claim is None:
            return False
        if isinstance(claim, ForeignMark):
            error = claim.examine(listing, now)
        else:
            error = claim.refusal(self._masks, listing, self.routes[0].name, now)
        passed.faults += [error] if error is not None else []
        return error is not None and not isinstance(claim, ForeignMark)

    def _in_line(self, ready: Sequence[Listed], fresh: Sequence[Listed]) -> Sequence[Listed]:
        """The files to take, in order, and between them those that could not be read before and are not whole now."""
        if not self._waiting.files():
            self._unsettled = set()
            return ready
        there = {one.name for one in ready}
        unsettled = [
            one for one in fresh if one.name not in there and one.regular and self._unreadable.is_known(one.name)
        ]
        self._unsettled = {one.name for one in unsettled}
        return sorted([*ready, *unsettled], key=self._settling.position) if unsettled else ready

    def _take_in_turn(self, batches: Sequence[Sequence[Listed]], passed: Passed) -> None:
        for batch in batches:
            if self._stopping():
                passed.next_look = self._clock()
                return
            self._finish(self._take(batch, passed), passed)
            if passed.taking_ended:
                return

    def _take_many(self, batches: Sequence[Sequence[Listed]], passed: Passed) -> None:
        """Takes and rewrites the next batch while the last one is delivered: one waits for workers, one for disks."""
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
            coming = ahead.submit(self._take, batches[0], passed)
            for following in (*batches[1:], None):
                prepared = coming.result()
                if self._stopping():
                    passed.next_look = self._clock()
                    following = None  # noqa: PLW2901
                if passed.taking_ended:
                    following = None  # noqa: PLW2901
                if following is not None:
                    coming = ahead.submit(self._take, following, passed)
                self._finish(prepared, passed)
                if following is None:
                    return

    def _note_waiting(self, look: Look, listing: Sequence[Listed], passed: Passed, now: datetime) -> None:
        """Writes down and reports the files that are quiet and do not count as whole all the same."""
        self._waiting.forget_missing({one.name for one in listing})
        self._waiting.note_all([(one.file, one.reason, self._remedy(one.reason)) for one in look.waiting], now)
        passed.faults += [self._waiting.error(one.file.name, now) for one in look.waiting]

    def _remedy(self, reason: WaitReason) -> str:
        if reason is WaitReason.EMPTY:
            quiet = duration_text(self.spec.settle_empty)
            return f"It is taken when it has content, or once it was empty for {quiet} (`settle_empty`)."
        return "It is taken when its writer has closed it (`settle_open`)."

    def _subject(self, name: str) -> str:
        return f"{self.place}/{escape_name(name)}"

    def _list(self) -> list[Listed]:
        try:
            return self.endpoint.list(self.spec.folder, self._accepts)
        except Absent as exc:
            raise Transient(
                f"the folder {self.place} is not there",
                remedy="Make it (or mount it) again; files in it are then taken by themselves.",
            ) from exc

    def _is_open(self, name: str) -> bool:
        """Whether the file is known to be open for writing. The kernel's word counts more than that of events."""
        known = self.endpoint.has_writer(self.spec.folder, name) if isinstance(self.endpoint, WriterCheck) else None
        return self._is_being_written(name) if known is None else known

    def _recall(self, now: datetime) -> None:
        """Empty files that an earlier process saw have been empty since then."""
        if not self._recalled:
            self._recalled = True
            files = self._waiting.files().items()
            empty = {
                name: (file.identity, now - self._waiting.waited(name))
                for name, file in files
                if file.reason is WaitReason.EMPTY
            }
            self._settling.recall(empty)

    def _take(self, batch: Sequence[Listed], passed: Passed) -> list[Prepared]:
        """Reads, claims and rewrites some files, up to the first that cannot be read now and holds up the others."""
        takings = self._read_in_order(batch, passed)
        if not takings:
            return []
        claimed = self._claim(takings)
        passed.claimed += len(takings)
        if any(taking.hold is not None for taking in takings):
            self._carrying.note_held(self._journal.ledger.held_aside([route.name for route in self.routes]), passed)
        return [
            self._prepare(route, claimed, takings)
            for route in self.routes
            if self._carrying.enabled(route) and not blocked_in(route, passed)
        ]

    def _read_in_order(self, batch: Sequence[Listed], passed: Passed) -> list[Taking]:
        fetched = self._fetch(batch)
        takings: list[Taking] = []
        for file in batch:
            unsettled = file.name in self._unsettled
            taking = None if unsettled else self._read(file, fetched.pop(file.name, None), passed)
            if taking is not None:
                takings.append(taking)
                if self._passed_over:
                    self._overtaken[file.name], self._passed_over = self._passed_over, []
            elif self._unreadable.blocks(file.name):
                passed.taking_ended = True
                break
            elif self._unreadable.is_known(file.name):
                self._passed_over.append(file.name)
        return takings

    def _finish(self, prepared: Sequence[Prepared], passed: Passed) -> None:
        """Delivers what was taken, unless the route was blocked meanwhile."""
        for one in prepared:
            blocked = blocked_in(one.route, passed)
            self._carrying.note(one.route, self._pipeline.finish(one, self._clock(), deliver=not blocked), passed)

    def _prepare(self, route: Route, claimed: Sequence[Sequence[int]], takings: Sequence[Taking]) -> Prepared:
        raws = {}
        for ids, taking in zip(claimed, takings, strict=True):
            if taking.raw is not None:
                raws.update(dict.fromkeys(ids, taking.raw))
        mine = {id_ for ids in claimed for id_ in ids}
        messages = self._journal.ledger.messages(sorted(mine))
        batch = [one for one in messages if one.route == route.name and one.state is not State.HELD]
        return self._pipeline.prepare(route, batch, raws, self._clock())

    def _fetch(self, batch: Sequence[Listed]) -> dict[str, Fetched]:
        """The small files of a batch, read in few round trips; none of a place that is near.

        Only those ahead of one that could not be read before: it may end the taking again.
        """
        likely = itertools.takewhile(lambda one: not self._unreadable.is_known(one.name), batch)
        small = [
            one for one in likely if one.identity.size < many.SMALL and not self._intake.is_too_large(one.identity)
        ]
        if not self.endpoint.abilities.remote or len(small) < 2:
            return {}
        return {one.name: one for one in many.read_many(self.endpoint, self.spec.folder, small)}

    def _read(self, file: Listed, fetched: Fetched | None, passed: Passed) -> Taking | None:
        try:
            taking = self._intake.read(file, fetched)
        except (SourceChanged, Absent) as error:
            self._note_denial(file, error, passed)
        except EndpointError as error:
            passed.faults.append(self._unreadable.note_failure(file, error, self._clock()))
        else:
            self._unreadable.note_success(file.name)
            self._listing_faults.forget([file.name])
            if taking is not None:
                return self._waiting.judge(taking, self._clock())
            self._forget_waiting([file.name])  # it was left with these bytes before
        return None

    def _note_denial(self, file: Listed, error: CegidDaemonError, passed: Passed) -> None:
        """The file is not, or no longer, what was listed: looked at again soon, unless that is so at every look."""
        denied = self._listing_faults.note_denial(file, error, self._clock())
        if denied is not None:
            passed.faults.append(denied)
            return
        log.debug("%s: %s; looked at again", self._subject(file.name), error)
        passed.next_look = min(passed.next_look, self._clock() + self.spec.settle)
        passed.settling += 1

    def _claim(self, takings: Sequence[Taking]) -> list[list[int]]:
        """The ids of the new messages, for each file one a route. Durable when this returns."""
        settings = self._journal.book.settings
        logged = {route.store: settings.log_requests(self._stores[route.store]) for route in self.routes}
        now = self._clock()
        try:
            with self._journal.connection.transaction():
                claimed = [self._claim_one(taking, logged, now) for taking in takings]
                self._forget_waiting([taking.name for taking in takings])
        except BaseException:
            self._waiting.reload()
            for taking in takings:
                self._intake.discard(taking)
            raise
        for ids, taking in zip(claimed, takings, strict=True):
            self._pipeline.rewriting.began(ids)
            self._waiting.tell_held(ids, taking)
        return claimed

    def _claim_one(self, taking: Taking, logged: Mapping[str, bool], now: datetime) -> list[int]:
        self._waiting.overtake(self._overtaken.pop(taking.name, ()))
        return self._journal.claims.claim(taking, self.routes, logged, now)

    def _forget_waiting(self, names: Sequence[str]) -> None:
        self._unreadable.forget(names)
        self._waiting.forget(names)
