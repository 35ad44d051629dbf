"""Filing the original away without swallowing the next file of the same name.

The new name is chosen once and committed before the rename; after the rename what was renamed is looked at. If it is
not the file we read, the sender was quicker: it goes back, or is claimed from where it lies. Nothing here blocks a
route: a file that cannot be filed now is filed later. No endpoint is asked anything inside a transaction.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Exists, SourceChanged, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import CLOSED, Identity, Listed, Route, SourceSpec, SourceState, State
from cegid_daemon.pipeline.failure import explanation
from cegid_daemon.pipeline.naming import error_name, numbered, parting_name, subfolder

log = logging.getLogger(__name__)

_REMEMBERED = 1_000  # names whose last number is known
_AT_ONCE = 256  # files that share their commits
_Name = tuple[str, str, str]  # place, folder, name


class Filing:
    """Files originals away: processed, failed, deleted or left."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], routes: Mapping[str, Route]) -> None:
        self._journal = journal
        self._at = {endpoint.where: endpoint for endpoint in endpoints.values()}
        self._routes = routes
        self._instance = journal.ledger.instance()
        self._last_number: dict[_Name, int] = {}  # where the search for a free name went on last time

    def file(self, sources: Sequence[int], now: datetime) -> list[CegidDaemonError]:
        """Files away those of `sources` none of whose messages is on its way any more, and closes those messages.

        Returns an error for each file that cannot be filed now. May be called again after a kill at any point.
        """
        errors: list[CegidDaemonError] = []
        for start in range(0, len(sources), _AT_ONCE):
            self._file_some(sources[start : start + _AT_ONCE], errors, now)
        return errors

    def _file_some(self, sources: Sequence[int], errors: list[CegidDaemonError], now: datetime) -> None:
        ended: list[tuple[SourceFile, SourceState]] = []
        for file, begun in self._plan(sources, errors, now):
            try:
                state = self._file_away(file, begun, now) if file.state is SourceState.FILING else file.state
                ended.append((file, state))
            except (EndpointError, SourceChanged) as error:
                errors.append(error)
        unsynced = self._sync([file for file, state in ended if state is SourceState.FILED], errors)
        with self._journal.connection.transaction():
            for file, state in ended:
                if not unsynced & {(file.place, file.folder), (file.place, file.filed_folder)}:
                    self._end(file, state, now)

    def _sync(self, files: Iterable[SourceFile], errors: list[CegidDaemonError]) -> set[tuple[str, str]]:
        """Makes the renames durable; returns the folders where that was not possible."""
        unsynced = set()
        for place, folder in {(one.place, folder) for one in files for folder in (one.filed_folder, one.folder)}:
            try:
                self._at[place].sync(folder)
            except EndpointError as error:
                errors.append(error)
                unsynced.add((place, folder))
        return unsynced

    def _end(self, file: SourceFile, state: SourceState, now: datetime) -> None:
        """Writes down what became of a file. Joins the caller's transaction."""
        if file.state is SourceState.FILING:
            current = self._journal.sources.one(file.id)
            self._journal.sources.move(file.id, state, current.filed_folder, current.filed_name)
        delivered = [one.id for one in self._journal.ledger.of_source(file.id) if one.state is State.DELIVERED]
        self._journal.ledger.close(delivered, State.DONE, now)

    # -- where to ---------------------------------------------------------------------------------------------------

    def _plan(
        self, sources: Iterable[int], errors: list[CegidDaemonError], now: datetime
    ) -> list[tuple[SourceFile, bool]]:
        """The files whose messages are over, each with its new name: durable before anything is renamed.

        Beside each stands whether it had its new name before, so that an earlier try may have renamed it.
        """
        files: list[tuple[SourceFile, bool]] = []
        taken = self._journal.sources.filing_names()
        for source in sources:
            messages = self._journal.ledger.of_source(source)
            if any(message.state not in (*CLOSED, State.DELIVERED) for message in messages):
                continue
            file = self._journal.sources.one(source)
            try:
                lying = file.state is SourceState.LYING
                files.append((self._planned(file, messages, taken, now) if lying else file, not lying))
            except EndpointError as error:
                errors.append(error)
        with self._journal.connection.transaction():
            for file, _ in files:
                if file.state is SourceState.FILING:
                    self._journal.sources.move(file.id, file.state, file.filed_folder, file.filed_name)
        return files

    def _planned(self, file: SourceFile, messages: Sequence[Message], taken: set[_Name], now: datetime) -> SourceFile:
        folder, name = self._destination(file, messages, taken, now)
        taken.add((file.place, folder, name))
        return replace(file, state=SourceState.FILING, filed_folder=folder, filed_name=name)

    def _destination(
        self, file: SourceFile, messages: Sequence[Message], taken: Collection[_Name], now: datetime
    ) -> tuple[str, str]:
        spec = self._source_spec(messages)
        if spec.after == "leave":
            return file.folder, file.name
        if any(message.state is State.FAILED for message in messages):
            return self._free(file, subfolder(file.folder, "failed"), taken)
        if spec.after == "delete":
            return file.folder, parting_name(self._instance, file.id)
        return self._free(file, subfolder(file.folder, spec.archive or f"processed/{now:%Y-%m-%d}"), taken)

    def _source_spec(self, messages: Iterable[Message]) -> SourceSpec:
        """As configured now; the defaults, if the routes are no longer configured."""
        routes = (self._routes.get(message.route) for message in messages)
        return next((route.source for route in routes if route is not None), SourceSpec(endpoint=""))

    def _free(self, file: SourceFile, folder: str, taken: Collection[_Name]) -> tuple[str, str]:
        """The next name that nothing in the folder has, and no other file is about to get."""
        endpoint = self._endpoint(file)
        if len(self._last_number) >= _REMEMBERED:
            self._last_number.clear()
        number = self._last_number.get((file.place, folder, file.name), 0)
        while True:
            number += 1
            name = numbered(file.name, number)
            if (file.place, folder, name) not in taken and _stat(endpoint, folder, name) is None:
                self._last_number[file.place, folder, file.name] = number
                return folder, name

    # -- the way ----------------------------------------------------------------------------------------------------

    def _file_away(self, file: SourceFile, begun: bool, now: datetime) -> SourceState:
        """Gives the file its stored new name. Returns what became of it; raises where it cannot be done now.

        `begun`: an earlier try may have done so, and what lies there may be the sender's next file.
        """
        endpoint = self._endpoint(file)
        if (file.filed_folder, file.filed_name) == (file.folder, file.name):
            return SourceState.LEFT
        # Asked first: a source folder that is not there (a share not mounted) says nothing about its files.
        here = endpoint.stat(file.folder, file.name)
        there = _stat(endpoint, file.filed_folder, file.filed_name)
        if there is not None and there.identity.same_file(file.identity):
            return self._filed(endpoint, file)
        if here is not None and self._is_ours(endpoint, file, here.identity, begun):
            return self._move(endpoint, file if there is None else self._planned_anew(file, now), now)
        if there is not None:
            self._give_back(endpoint, file, now)  # we were ended right after the rename
        return SourceState.GONE

    def _planned_anew(self, file: SourceFile, now: datetime) -> SourceFile:
        """Somebody else has taken the name that was free when it was chosen."""
        messages = self._journal.ledger.of_source(file.id)
        planned = self._planned(file, messages, self._journal.sources.filing_names(), now)
        self._journal.sources.move(file.id, planned.state, planned.filed_folder, planned.filed_name)
        return planned

    def _move(self, endpoint: Endpoint, file: SourceFile, now: datetime) -> SourceState:
        """Renames the source, then looks at what was renamed."""
        messages = self._journal.ledger.of_source(file.id)
        endpoint.make_folder(file.filed_folder)
        self._explain(endpoint, file, messages, now)
        self._remove_marker(endpoint, file, messages)
        endpoint.rename(file.folder, file.name, file.filed_folder, file.filed_name, replace=False)
        moved = endpoint.stat(file.filed_folder, file.filed_name)
        if moved is not None and not moved.identity.same_file(file.identity):
            self._give_back(endpoint, file, now)
            return SourceState.GONE
        return self._filed(endpoint, file)

    def _filed(self, endpoint: Endpoint, file: SourceFile) -> SourceState:
        if file.filed_name == parting_name(self._instance, file.id):
            with contextlib.suppress(Absent):
                endpoint.remove(file.filed_folder, file.filed_name)
        return SourceState.FILED

    def _explain(self, endpoint: Endpoint, file: SourceFile, messages: Sequence[Message], now: datetime) -> None:
        """Lays the reason beside a file that failed; it is there before the file is."""
        failures = [(one, one.fault) for one in messages if one.state is State.FAILED and one.fault is not None]
        if failures:
            out = {one.id: self._journal.outgoing.out_of_hand(one.id) for one, _ in failures}
            text = explanation(file.name, failures, out, now).encode("utf-8", "backslashreplace")
            endpoint.put(file.filed_folder, error_name(file.filed_name), [text])

    def _remove_marker(self, endpoint: Endpoint, file: SourceFile, messages: Sequence[Message]) -> None:
        """The marker goes first: one left behind would call the sender's next file whole too early."""
        marker = self._source_spec(messages).marker
        if marker:
            with contextlib.suppress(Absent):
                endpoint.remove(file.folder, file.name + marker)

    def _is_ours(self, endpoint: Endpoint, file: SourceFile, here: Identity, begun: bool) -> bool:
        if not here.same_file(file.identity):
            return False
        coarse = not here.inode and not here.ctime_ns  # a server that tells size and time, to the second or minute
        if here.ctime_ns == file.identity.ctime_ns and not (coarse and begun):
            return True
        digest = hashlib.sha256()  # in doubt: touched without changing size or time, or another file of the same
        try:
            with endpoint.read(file.folder, file.name) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
        except (SourceChanged, Absent):
            return False
        return digest.hexdigest() == self._journal.ledger.of_source(file.id)[0].sha256

    def _endpoint(self, file: SourceFile) -> Endpoint:
        """By place: an endpoint may bear another name in today's configuration."""
        try:
            return self._at[file.place]
        except KeyError:
            raise Transient(
                f"{file.place} is no longer configured, and {file.name!r} in it not filed away",
                remedy="Configure the endpoint again and reload.",
            ) from None

    # -- the sender was quicker -------------------------------------------------------------------------------------

    def _give_back(self, endpoint: Endpoint, file: SourceFile, now: datetime) -> None:
        """The sender put a new file under the name just before the rename: it was renamed instead of ours."""
        log.info("%r was replaced by its sender while it was filed away; the new file is taken next", file.name)
        try:
            endpoint.rename(file.filed_folder, file.filed_name, file.folder, file.name, replace=False)
        except Exists:
            self._claim_from(endpoint, file, now)

    def _claim_from(self, endpoint: Endpoint, file: SourceFile, now: datetime) -> None:
        """Yet another file lies under the name by now: the swallowed one becomes a message from where it lies."""
        messages = self._journal.ledger.of_source(file.id)
        routes = [self._routes[message.route] for message in messages if message.route in self._routes]
        with endpoint.read(file.filed_folder, file.filed_name) as reading:
            staged = self._journal.payloads.stage_bytes(reading)
            identity = reading.identity
        logged = {message.store: message.logged for message in messages}
        taking = Taking(file.endpoint, file.place, file.folder, file.name, identity, staged, None)
        with self._journal.connection.transaction():
            self._journal.sources.move(file.id, SourceState.GONE, file.filed_folder, file.filed_name)
            for message in self._journal.ledger.claim(taking, routes, logged, now):
                self._journal.sources.move_of(message, SourceState.FILED, file.filed_folder, file.filed_name)
            self._end(replace(file, state=SourceState.GONE), SourceState.GONE, now)


def _stat(endpoint: Endpoint, folder: str, name: str) -> Listed | None:
    try:
        return endpoint.stat(folder, name)
    except Absent:
        return None
