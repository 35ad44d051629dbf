"""Files that were filed away a moment ago, looked at again: a sender may still hold them open and write.

Owns the times of these looks, kept in the journal for as long as they last so that a restart goes on with them, and
the claim of what such a file says now. A file of this machine that is to be deleted is kept under a name of ours until
the last look, unless it is proven that nobody writes to it.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cegid_daemon.clock import SteadyClock
from cegid_daemon.endpoints.protocol import WriterCheck
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, SourceChanged, Transient
from cegid_daemon.errors import Place as Where
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import Identity, Listed, Route, SourceSpec, location
from cegid_daemon.pipeline.destinations import Destinations
from cegid_daemon.pipeline.growth import hold_for_change
from cegid_daemon.pipeline.places import Looks, Name, Places

log = logging.getLogger(__name__)

RECHECK_FOR = timedelta(seconds=70)  # a file is looked at for this long after it was filed away
_LOCAL_STEPS = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 30, 70))
_REMOTE_STEPS = tuple(timedelta(seconds=seconds) for seconds in (10, 70))
_LEAST_QUIET = timedelta(seconds=1)
_AGAIN = timedelta(seconds=30)  # after a look that was not possible, or while somebody writes
_LATEST = RECHECK_FOR + _AGAIN  # what is due later was set by a clock that was ahead
_AT_ONCE = 2_000  # files of one check
_NOTICE = "changed file"


@dataclass(slots=True)
class Rechecked:
    """What one check came to."""

    settling: int = 0  # files that changed and are not quiet yet
    next_at: datetime | None = None
    errors: list[CegidDaemonError] = field(default_factory=list)


@dataclass(slots=True)
class _Watched:
    file: SourceFile
    until: datetime
    changed: Identity | None = None  # what it was seen to have become
    since: datetime | None = None
    settling: bool = False  # it changed, and is looked at again as soon as it can be quiet


class _Folder:
    """The files of one source folder, by the time of their next look."""

    def __init__(self) -> None:
        self.due: list[tuple[datetime, int]] = []
        self.files: dict[int, _Watched] = {}
        self.settling: set[int] = set()

    def add(self, watched: _Watched, at: datetime) -> None:
        self.files[watched.file.id] = watched
        if watched.settling:
            self.settling.add(watched.file.id)
        heapq.heappush(self.due, (at, watched.file.id))

    def take(self, now: datetime | None) -> list[tuple[datetime, _Watched]]:
        """Those that are due at `now`; None: all."""
        taken: list[tuple[datetime, _Watched]] = []
        while self.due and len(taken) < _AT_ONCE and (now is None or not now < self.due[0][0] < now + _LATEST):
            at, id_ = heapq.heappop(self.due)
            self.settling.discard(id_)
            taken.append((at, self.files.pop(id_)))
        return taken


class ArchiveRecheck:
    """Looks at filed files again. May be used from several threads."""

    def __init__(
        self, journal: Journal, places: Places, destinations: Destinations, routes: Mapping[str, Route],
        clock: SteadyClock,
    ) -> None:  # fmt: skip
        """All times in here are even ones by `clock`; those kept or told are of the wall clock."""
        self._journal = journal
        self._places = places
        self._destinations = destinations
        self._routes = routes
        self._clock = clock
        self._lock = threading.Lock()
        self._folders: dict[tuple[str, str], _Folder] = {}

    def watch(self, files: Iterable[SourceFile], now: datetime) -> None:
        """These were filed away just now, and the journal knows that they are to be looked at."""
        now = self._clock.steady(now)
        with self._lock:
            for file in files:
                folder = self._folders.get((file.place, file.folder))
                if folder is not None:  # else they are found in the journal when the folder is first checked
                    self._put(folder, _Watched(file, now + RECHECK_FOR), now)

    def reload(self, place: str, folder: str) -> None:
        """What is to be looked at is asked of the journal anew."""
        with self._lock:
            self._folders.pop((place, folder), None)

    def check(self, place: str, folder: str, now: datetime, *, patient: bool) -> Rechecked:
        """Looks at the files taken from this folder that are due; `patient=False`: at all that are watched."""
        result = Rechecked()
        now = self._clock.steady(now)
        with self._lock:
            watched = self._load(place, folder, now)
            taken = watched.take(now if patient else None)
        if taken:
            try:
                self._check(watched, taken, now, result)
            except BaseException:
                self.reload(place, folder)  # the journal knows them all
                raise
        with self._lock:
            result.next_at = self._clock.wall(watched.due[0][0]) if watched.due else None
            result.settling = len(watched.settling)
        return result

    def _load(self, place: str, folder: str, now: datetime) -> _Folder:
        if (place, folder) not in self._folders:
            loaded = self._folders[place, folder] = _Folder()
            for file, until in self._journal.sources.rechecked(place, folder):
                left = min(until - self._clock.wall(now), RECHECK_FOR)
                loaded.add(_Watched(file, now + left), now)
        return self._folders[place, folder]

    def _put(self, folder: _Folder, watched: _Watched, now: datetime, at: datetime | None = None) -> None:
        """Looks again at `at`, or at the next of the times after it was filed away."""
        filed_at = watched.until - RECHECK_FOR
        steps = _REMOTE_STEPS if self._places.endpoint(watched.file.place).abilities.remote else _LOCAL_STEPS
        later = (filed_at + step for step in steps if filed_at + step > now)
        folder.add(watched, at or next(later, watched.until))

    def _check(
        self, folder: _Folder, taken: Sequence[tuple[datetime, _Watched]], now: datetime, result: Rechecked
    ) -> None:
        looks = self._places.look(_filed(one.file) for _, one in taken)
        over: list[SourceFile] = []
        again: list[tuple[_Watched, datetime | None]] = []
        for at, one in taken:
            try:
                when = self._decide(one, looks, now, result)
            except (EndpointError, SourceChanged) as error:
                result.errors.append(error)
                again.append((one, now + _AGAIN))
                continue
            if when is _OVER:
                over.append(one.file)
            else:
                again.append((one, at if when is None and at > now else when))
        over = self._remove(over, again, now, result)
        if over:
            with self._journal.connection.transaction():
                self._journal.sources.end_recheck([file.id for file in over])
        with self._lock:
            for one, when in again:
                self._put(folder, one, now, when)

    def _decide(self, one: _Watched, looks: Looks, now: datetime, result: Rechecked) -> datetime | None:
        """When to look at a file again (None: at its next time), or _OVER."""
        look = looks[_filed(one.file)]
        one.settling = False
        if isinstance(look, EndpointError) and not isinstance(look, Absent):
            raise look
        if not isinstance(look, Listed):  # somebody took it away
            return _OVER
        if look.identity.same_file(one.file.identity):
            one.changed = None
            if now < one.until:
                return None
            return now + _AGAIN if self._has_writer(one.file) else _OVER
        return self._changed(one, look.identity, now, result)

    def _changed(self, one: _Watched, here: Identity, now: datetime, result: Rechecked) -> datetime | None:
        messages = self._journal.ledger.of_source(one.file.id)
        spec = self._destinations.spec(one.file, messages)
        quiet = max(spec.settle, _LEAST_QUIET)
        if one.changed is None or one.since is None or not one.changed.same_file(here):
            one.changed, one.since = here, now
        if now - one.since < quiet:
            one.settling = True
            return one.since + quiet
        if spec.settle_open and self._has_writer(one.file):
            error = _still_written(one.file)
            result.errors.append(error)
            if self._journal.notices.report(_NOTICE, _location(one.file), str(error), self._clock.wall(now)):
                log.warning("%s", error)
            return now + _AGAIN
        try:
            return self._take(one, messages, spec, now)
        except SourceChanged:
            one.changed, one.settling = None, True
            return now + quiet

    def _has_writer(self, file: SourceFile) -> bool | None:
        endpoint = self._places.endpoint(file.place)
        if not isinstance(endpoint, WriterCheck):
            return None
        return endpoint.has_writer(file.filed_folder, file.filed_name)

    def may_be_deleted(self, file: SourceFile) -> bool:
        """Whether a file that is not kept can be deleted without a further look.

        On this machine, where it is proven that nobody writes to it under its new name, which nobody else knows. On a
        server nothing can be proven, and its folder is not littered with hidden files for that.
        """
        return self._places.endpoint(file.place).abilities.remote or self._has_writer(file) is False

    # -- what it says now -------------------------------------------------------------------------------------------

    def _take(
        self, one: _Watched, messages: Sequence[Message], spec: SourceSpec, now: datetime
    ) -> datetime | None:  # fmt: skip
        """Reads the file; what it says now becomes a message a route, unless it says the same."""
        file = one.file
        routes = [self._routes[message.route] for message in messages if message.route in self._routes]
        with self._places.endpoint(file.place).read(file.filed_folder, file.filed_name) as reading:
            identity = reading.identity
            large = 0 < spec.max_size < identity.size
            staged = None if large else self._journal.payloads.stage_bytes(reading)
        if not routes or (staged is not None and staged.sha256 == messages[0].sha256):
            if staged is not None:
                self._journal.payloads.discard(staged)
            self._journal.sources.update_identity(file.id, identity)
            one.file, one.changed = replace(file, identity=identity), None
            if not routes:
                self.report_unrouted(file, self._clock.wall(now))
            return None
        hold = hold_for_change(self._journal, file, messages, routes, identity)
        taking = Taking(
            file.endpoint, file.place, file.folder, file.name, identity, staged, None, hold,
            after_message=messages[-1].id if hold else None,
            filed_as=(file.filed_folder, file.filed_name), recheck_until=self._clock.wall(now) + RECHECK_FOR,
        )  # fmt: skip
        logged = {self._routes[one.route].store: one.logged for one in messages if one.route in self._routes}
        text = (
            f"{_location(file)} changed after message {messages[0].id} was made of it "
            f"({file.identity.size} bytes then, {identity.size} now)"
        )
        try:
            claimed, one.file = self._claim(file, taking, routes, logged, text, self._clock.wall(now))
        except BaseException:
            if staged is not None:
                self._journal.payloads.discard(staged)
            raise
        one.until, one.changed = now + RECHECK_FOR, None
        log.warning("%s; what it says now is message %s%s", text, ", ".join(map(str, claimed)),
                    ", held for a person" if hold else "")  # fmt: skip
        return None

    def _claim(
        self, file: SourceFile, taking: Taking, routes: Sequence[Route], logged: Mapping[str, bool], text: str,
        now: datetime,
    ) -> tuple[list[int], SourceFile]:  # fmt: skip
        """The new messages, and the file as it is now."""
        with self._journal.connection.transaction():
            claimed = self._journal.claims.claim(taking, routes, logged, now)
            for message in claimed:
                self._journal.ledger.note(message, "take", "ok", text, now)
            self._journal.sources.end_recheck([file.id])
            self._journal.notices.clear(_NOTICE, _location(file))
            found = self._journal.ledger.message(claimed[0])
            assert found is not None and found.source is not None
            return claimed, self._journal.sources.one(found.source)

    def report_unrouted(self, file: SourceFile, now: datetime) -> None:
        """What lies there now is no route's any more."""
        text = f"{_location(file)} changed after it was taken, and its routes are gone. Look at it."
        if self._journal.notices.report(_NOTICE, _location(file), text, now):
            log.warning("%s", text)

    def _remove(
        self, over: Sequence[SourceFile], again: list[tuple[_Watched, datetime | None]], now: datetime,
        result: Rechecked,
    ) -> list[SourceFile]:  # fmt: skip
        """Deletes those that were kept for these looks only. Returns the files with which all is done."""
        doomed = {_filed(file): file for file in over if self._destinations.parts_with(file)}
        failed = self._places.remove(doomed, result.errors)
        again += [(_Watched(doomed[name], now), now + _AGAIN) for name in failed]
        return [file for file in over if _filed(file) not in failed]


_OVER = datetime.min.replace(tzinfo=UTC)  # no further look


def _filed(file: SourceFile) -> Name:
    return file.place, file.filed_folder, file.filed_name


def _location(file: SourceFile) -> str:
    return location(file.place, file.filed_folder, file.filed_name)


def _still_written(file: SourceFile) -> Transient:
    return Transient(
        "the file changed after it was taken and is still being written",
        where=Where(file=_location(file)),
        remedy="It is taken again, whole, when its writer has closed it.",
    )
