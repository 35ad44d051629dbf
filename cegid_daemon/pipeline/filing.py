"""Filing the original away without swallowing the next file of the same name.

The new name is chosen once and committed before the rename; after the rename what was renamed is looked at. If it is
not the file we read, the sender was quicker: it goes back, or is claimed from where it lies. Nothing here blocks a
route: a file that cannot be filed now is filed later. No endpoint is asked anything inside a transaction.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from cegid_daemon.clock import SteadyClock
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Exists, SourceChanged
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import CLOSED, Identity, Listed, Route, SourceState, State
from cegid_daemon.pipeline.destinations import Destinations
from cegid_daemon.pipeline.failure import explanation
from cegid_daemon.pipeline.growth import StartDigest, hold_for_growth
from cegid_daemon.pipeline.moved_files import MovedFiles
from cegid_daemon.pipeline.naming import error_name
from cegid_daemon.pipeline.places import Looks, Name, Places, asked, collecting, found
from cegid_daemon.pipeline.rechecking import RECHECK_FOR, ArchiveRecheck

log = logging.getLogger(__name__)

_AT_ONCE = 256  # files that share their commits
_Ended = tuple[SourceFile, SourceState]


class Filing:
    """Files originals away: processed, failed, deleted or left."""

    def __init__(
        self, journal: Journal, endpoints: Mapping[str, Endpoint], routes: Mapping[str, Route], clock: SteadyClock
    ) -> None:
        self._journal = journal
        self._places = Places(endpoints)
        self._routes = routes
        self._destinations = Destinations(self._places, routes, journal.ledger.instance())
        self.recheck = ArchiveRecheck(journal, self._places, self._destinations, routes, clock)
        self.moved = MovedFiles(journal, self._places, routes)

    def file(self, sources: Sequence[int], now: datetime) -> list[CegidDaemonError]:
        """Files away those of `sources` none of whose messages is on its way any more, and closes those messages.

        Returns an error for each file that cannot be filed now. May be called again after a kill at any point.
        """
        errors: list[CegidDaemonError] = []
        for start in range(0, len(sources), _AT_ONCE):
            self._file_some(sources[start : start + _AT_ONCE], errors, now)
        return errors

    def _file_some(self, sources: Sequence[int], errors: list[CegidDaemonError], now: datetime) -> None:
        files, begun = self._plan(sources, errors, now)
        filing = [file for file in files if file.state is SourceState.FILING]
        ended, removed = self._part_with(self._file_away(filing, begun, errors, now), errors)
        ended += [(file, file.state) for file in files if file.state is not SourceState.FILING]
        unsynced = self._sync([file for file, state in ended if state is SourceState.FILED], errors)
        synced = [
            (file, state)
            for file, state in ended
            if not unsynced & {(file.place, file.folder), (file.place, file.filed_folder)}
        ]
        kept = [
            file
            for file, state in synced
            if state is SourceState.FILED and file.state is SourceState.FILING and file.id not in removed
        ]
        with self._journal.connection.transaction():
            for file, state in synced:
                self._end(file, state, now, now + RECHECK_FOR if file in kept else None)
        self.recheck.watch(kept, now)

    def _sync(self, files: Iterable[SourceFile], errors: list[CegidDaemonError]) -> set[tuple[str, str]]:
        """Makes the renames durable; returns the folders where that was not possible."""
        unsynced = set()
        for place, folder in {(one.place, folder) for one in files for folder in (one.filed_folder, one.folder)}:
            try:
                self._places.endpoint(place).sync(folder)
            except EndpointError as error:
                errors.append(error)
                unsynced.add((place, folder))
        return unsynced

    def _end(self, file: SourceFile, state: SourceState, now: datetime, recheck_until: datetime | None = None) -> None:
        """Writes down what became of a file. Joins the caller's transaction."""
        if file.state is SourceState.FILING:
            current = self._journal.sources.one(file.id)
            self._journal.sources.move(file.id, state, current.filed_folder, current.filed_name, recheck_until)
        delivered = [one.id for one in self._journal.ledger.of_source(file.id) if one.state is State.DELIVERED]
        self._journal.ledger.close(delivered, State.DONE, now)

    # -- where to ---------------------------------------------------------------------------------------------------

    def _plan(
        self, sources: Iterable[int], errors: list[CegidDaemonError], now: datetime
    ) -> tuple[list[SourceFile], set[int]]:
        """The files whose messages are over, each with its new name: durable before anything is renamed.

        Beside them the ids of those that had their new name before, so that an earlier try may have renamed them.
        """
        begun: set[int] = set()
        files: list[SourceFile] = []
        taken = self._journal.sources.filing_names()
        over = [(self.moved.follow(file, messages), messages) for file, messages in self._over(sources)]
        looks = self._places.look(self._destinations.likely(over, now))
        for file, messages in over:
            with collecting(errors):
                if file.state is SourceState.LYING:
                    files.append(self._planned(file, messages, taken, now, looks))
                else:
                    files.append(file)
                    begun.add(file.id)
        with self._journal.connection.transaction():
            for file in files:
                if file.state is SourceState.FILING:
                    self._journal.sources.move(file.id, file.state, file.filed_folder, file.filed_name)
        return files, begun

    def _over(self, sources: Iterable[int]) -> list[tuple[SourceFile, Sequence[Message]]]:
        """Those none of whose messages is on its way any more."""
        found = ((source, self._journal.ledger.of_source(source)) for source in sources)
        return [
            (self._journal.sources.one(source), messages)
            for source, messages in found
            if all(_is_over(message) for message in messages)
        ]

    def _planned(
        self, file: SourceFile, messages: Sequence[Message], taken: set[Name], now: datetime, looks: Looks
    ) -> SourceFile:
        folder, name = self._destinations.choose(file, messages, taken, now, looks)
        taken.add((file.place, folder, name))
        return replace(file, state=SourceState.FILING, filed_folder=folder, filed_name=name)

    # -- the way ----------------------------------------------------------------------------------------------------

    def _file_away(
        self, files: Sequence[SourceFile], begun: Collection[int], errors: list[CegidDaemonError], now: datetime
    ) -> list[_Ended]:
        """Gives each file its stored new name: all are looked at, then renamed, then what was renamed is looked at.

        `begun`: those that an earlier try may have renamed, so that what lies there may be the sender's next file.
        Returns what became of each; those with which it cannot be done now add their error instead.
        """
        ended: list[_Ended] = []
        moving: list[SourceFile] = []
        away = [file for file in files if not _stays(file)]
        looks = self._places.look([*map(_source, away), *map(_filed, away)])  # see `_judge`
        for file in files:
            with collecting(errors):
                state = self._judge(file, file.id in begun, looks, now)
                if state is SourceState.FILING:
                    moving.append(file if found(looks[_filed(file)]) is None else self._planned_anew(file, now))
                else:
                    ended.append((file, state))
        ended += self._move(moving, errors, now)
        return ended

    def _judge(self, file: SourceFile, begun: bool, looks: Looks, now: datetime) -> SourceState:
        """What became of a file; FILING if it is still to be renamed.

        The source is looked at first: were it second, a rename that an earlier run sent could hide it from both looks.
        """
        self._places.endpoint(file.place)
        if _stays(file):
            return SourceState.LEFT
        # A source folder that is not there (a share not mounted) says nothing about its files.
        here, there = asked(looks[_source(file)]), found(looks[_filed(file)])
        if there is not None and there.identity.same_file(file.identity):
            return SourceState.FILED
        if here is not None and self._is_ours(file, here.identity, begun):
            return SourceState.FILING
        if there is not None:
            self._give_back(file, now)  # we were ended right after the rename
        return SourceState.GONE

    def _planned_anew(self, file: SourceFile, now: datetime) -> SourceFile:
        """Somebody else has taken the name that was free when it was chosen."""
        messages = self._journal.ledger.of_source(file.id)
        planned = self._planned(file, messages, self._journal.sources.filing_names(), now, {})
        self._journal.sources.move(file.id, planned.state, planned.filed_folder, planned.filed_name)
        return planned

    def _move(self, files: Sequence[SourceFile], errors: list[CegidDaemonError], now: datetime) -> list[_Ended]:
        """Renames the sources, then looks at what was renamed."""
        ended: list[_Ended] = []
        ready = self._ready(files, errors, now)
        renamed = self._places.rename(((_source(file), _filed(file)) for file in ready), errors)
        moved = [file for file in ready if _source(file) in renamed]
        looks = self._places.look(map(_filed, moved))
        for file in moved:
            with collecting(errors):
                there = asked(looks[_filed(file)])
                if there is None or there.identity.same_file(file.identity):
                    ended.append((file, SourceState.FILED))
                else:
                    self._give_back(file, now)
                    ended.append((file, SourceState.GONE))
        return ended

    def _ready(self, files: Sequence[SourceFile], errors: list[CegidDaemonError], now: datetime) -> list[SourceFile]:
        """Those whose new folder and, where they failed, whose reason is there, and whose marker is not."""
        ready: list[SourceFile] = []
        markers: dict[int, Name] = {}
        folders = self._places.make_folders((file.place, file.filed_folder) for file in files)
        for file in files:
            with collecting(errors):
                if (error := folders[file.place, file.filed_folder]) is not None:
                    raise error
                messages = self._journal.ledger.of_source(file.id)
                self._explain(file, messages, now)
                ready.append(file)
                if marker := self._destinations.spec(file, messages).marker:
                    markers[file.id] = (file.place, file.folder, file.name + marker)
        # The marker goes first: one left behind would call the sender's next file whole too early.
        failed = self._places.remove(markers.values(), errors)
        return [file for file in ready if markers.get(file.id) not in failed]

    def _part_with(self, ended: Sequence[_Ended], errors: list[CegidDaemonError]) -> tuple[list[_Ended], set[int]]:
        """Removes the files that are not kept, and unchanged; on this machine where nobody has them open.

        Returns all that need no further try, and the ids of those removed; the others are removed after the last look.
        """
        parting = {
            _filed(file): file
            for file, state in ended
            if state is SourceState.FILED and self._destinations.parts_with(file) and self.recheck.may_be_deleted(file)
        }
        looks = self._places.look(parting)  # after the proof: nobody can open it under a name of ours
        same = [
            name
            for name, file in parting.items()
            if isinstance(look := looks[name], Listed) and look.identity.same_file(file.identity)
        ]
        failed = self._places.remove(same, errors)
        left = [(file, state) for file, state in ended if _filed(file) not in failed]
        return left, {parting[name].id for name in same}

    def _explain(self, file: SourceFile, messages: Sequence[Message], now: datetime) -> None:
        """Lays the reason beside a file that failed; it is there before the file is."""
        failures = [(one, one.fault) for one in messages if one.state is State.FAILED and one.fault is not None]
        if failures:
            out = {one.id: self._journal.outgoing.out_of_hand(one.id) for one, _ in failures}
            text = explanation(file.name, failures, out, now).encode("utf-8", "backslashreplace")
            self._places.endpoint(file.place).put(file.filed_folder, error_name(file.filed_name), [text])

    def _is_ours(self, file: SourceFile, here: Identity, begun: bool) -> bool:
        if not here.same_file(file.identity):
            return False
        coarse = not here.inode and not here.ctime_ns  # a server that tells size and time, to the second or minute
        if here.ctime_ns == file.identity.ctime_ns and not (coarse and begun):
            return True
        digest = hashlib.sha256()  # in doubt: touched without changing size or time, or another file of the same
        try:
            with self._places.endpoint(file.place).read(file.folder, file.name) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
        except (SourceChanged, Absent):
            return False
        return digest.hexdigest() == self._journal.ledger.of_source(file.id)[0].sha256

    # -- the sender was quicker -------------------------------------------------------------------------------------

    def _give_back(self, file: SourceFile, now: datetime) -> None:
        """The sender put a new file under the name just before the rename: it was renamed instead of ours."""
        log.info("%r was replaced by its sender while it was filed away; the new file is taken next", file.name)
        try:
            self._places.endpoint(file.place).rename(
                file.filed_folder, file.filed_name, file.folder, file.name, replace=False
            )
        except Exists:
            self._claim_from(file, now)

    def _claim_from(self, file: SourceFile, now: datetime) -> None:
        """Yet another file lies under the name by now: the swallowed one becomes a message from where it lies."""
        messages = self._journal.ledger.of_source(file.id)
        routes = [self._routes[message.route] for message in messages if message.route in self._routes]
        if not routes:
            self.recheck.report_unrouted(file, now)
            return
        with self._places.endpoint(file.place).read(file.filed_folder, file.filed_name) as reading:
            start = StartDigest(reading, file.identity.size)
            identity = reading.identity
            large = 0 < routes[0].source.max_size < identity.size
            staged = None if large else self._journal.payloads.stage_bytes(start)
        hold = None if large else hold_for_growth(self._journal, file, routes, identity, start)
        logged = {self._routes[one.route].store: one.logged for one in messages if one.route in self._routes}
        taking = Taking(
            file.endpoint, file.place, file.folder, file.name, identity, staged, None, hold,
            filed_as=(file.filed_folder, file.filed_name), recheck_until=now + RECHECK_FOR,
        )  # fmt: skip
        with self._journal.connection.transaction():
            self._journal.sources.move(file.id, SourceState.GONE, file.filed_folder, file.filed_name)
            self._journal.claims.claim(taking, routes, logged, now)
            self._end(replace(file, state=SourceState.GONE), SourceState.GONE, now)
        self.recheck.reload(file.place, file.folder)


def _source(file: SourceFile) -> Name:
    return file.place, file.folder, file.name


def _filed(file: SourceFile) -> Name:
    return file.place, file.filed_folder, file.filed_name


def _is_over(message: Message) -> bool:
    """Whether a message needs its file no more; one that lets others pass gives the name free for the next file."""
    return message.state in (*CLOSED, State.DELIVERED) or (message.state is State.HELD and message.lets_pass)


def _stays(file: SourceFile) -> bool:
    return _source(file) == _filed(file)
