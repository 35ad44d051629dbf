"""Filing the original away without swallowing the next file of the same name.

The new name is computed once and committed before the rename; after the rename what was renamed is looked at. If it is
not the file we read, the sender was quicker: it goes back, or is claimed from where it lies. Nothing here blocks a
route: a file that cannot be filed now is filed later.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, EndpointError, Exists
from cegid_daemon.journal import Journal
from cegid_daemon.journal.ledger import Taking
from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.model import CLOSED, Identity, Listed, Route, SourceSpec, SourceState, State
from cegid_daemon.pipeline.naming import error_name, numbered, parting_name, subfolder

log = logging.getLogger(__name__)


class Filing:
    """Files originals away: processed, failed, deleted or left."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], routes: Mapping[str, Route]) -> None:
        self._journal = journal
        self._endpoints = endpoints
        self._routes = routes
        self._instance = journal.ledger.instance()
        self._last_number: dict[tuple[str, str, str], int] = {}  # where the search for a free name went on last time

    def plan(self, sources: Iterable[int], now: datetime) -> tuple[list[SourceFile], list[EndpointError]]:
        """Stores where each file goes whose messages are all over: durable before anything is renamed.

        Returns these files, and why others cannot be planned now. Never called inside a transaction: it asks the
        endpoint for free names, and a slow server must not hold up everybody's commits.
        """
        chosen: list[tuple[SourceFile, tuple[str, str]]] = []
        faults: list[EndpointError] = []
        for source in sources:
            messages = self._journal.ledger.of_source(source)
            file = self._journal.ledger.source(source)
            over = all(message.state in (*CLOSED, State.DELIVERED) for message in messages)
            if over and file.state is SourceState.LYING:
                try:
                    chosen.append((file, self._destination(file, messages, now)))
                except EndpointError as error:
                    faults.append(error)
        with self._journal.connection.transaction():
            for file, (folder, name) in chosen:
                self._journal.ledger.set_source(file.id, SourceState.FILING, folder, name)
        return [self._journal.ledger.source(file.id) for file, _ in chosen], faults

    def _destination(self, file: SourceFile, messages: list[Message], now: datetime) -> tuple[str, str]:
        spec = self._source_spec(messages)
        endpoint = self._endpoints[file.endpoint]
        if spec.after == "leave":
            return file.folder, file.name
        if any(message.state is State.FAILED for message in messages):
            return self._free(endpoint, subfolder(file.folder, "failed"), file.name)
        if spec.after == "delete":
            return file.folder, parting_name(self._instance, file.id)
        return self._free(endpoint, subfolder(file.folder, spec.archive or f"processed/{now:%Y-%m-%d}"), file.name)

    def _source_spec(self, messages: list[Message]) -> SourceSpec:
        """As configured now; the defaults, if the routes are no longer configured."""
        routes = (self._routes.get(message.route) for message in messages)
        return next((route.source for route in routes if route is not None), SourceSpec(endpoint=""))

    def _free(self, endpoint: Endpoint, folder: str, name: str) -> tuple[str, str]:
        key = (endpoint.where, folder, name)
        number = self._last_number.get(key, 0)
        while True:
            number += 1
            candidate = numbered(name, number)
            if _stat(endpoint, folder, candidate) is None:
                self._last_number[key] = number
                return folder, candidate

    def file_away(self, file: SourceFile, explanation: str | None, now: datetime) -> SourceState:
        """Gives the file its stored new name; `explanation` is laid beside a failed one. Returns what became of it.

        May be called again after a kill at any point. Raises EndpointError where it cannot be done now.
        """
        endpoint = self._endpoints[file.endpoint]
        if (file.filed_folder, file.filed_name) == (file.folder, file.name):
            return SourceState.LEFT
        endpoint.make_folder(file.filed_folder)
        if explanation is not None:
            name = error_name(file.filed_name)
            endpoint.put(file.filed_folder, name, [explanation.encode("utf-8", "backslashreplace")])
        there = _stat(endpoint, file.filed_folder, file.filed_name)
        if there is None:
            there = self._move(endpoint, file)
        if there is None:
            return SourceState.GONE
        if not there.identity.same_file(file.identity):
            self._give_back(endpoint, file, now)
            return SourceState.GONE
        if self._is_parting(file):
            endpoint.remove(file.filed_folder, file.filed_name)
        return SourceState.FILED

    def _is_parting(self, file: SourceFile) -> bool:
        return file.filed_name == parting_name(self._instance, file.id)

    def _move(self, endpoint: Endpoint, file: SourceFile) -> Listed | None:
        """Renames the source and looks at what was renamed; None if the source is no longer ours to rename."""
        here = _stat(endpoint, file.folder, file.name)
        if here is None or not self._ours(endpoint, file, here.identity):
            return None
        self._remove_marker(endpoint, file)
        try:
            endpoint.rename(file.folder, file.name, file.filed_folder, file.filed_name, replace=False)
        except Absent:
            return None
        return _stat(endpoint, file.filed_folder, file.filed_name)

    def _remove_marker(self, endpoint: Endpoint, file: SourceFile) -> None:
        """The marker goes first: one left behind would call the sender's next file whole too early."""
        marker = self._source_spec(self._journal.ledger.of_source(file.id)).marker
        if marker:
            with contextlib.suppress(Absent):
                endpoint.remove(file.folder, file.name + marker)

    def _ours(self, endpoint: Endpoint, file: SourceFile, here: Identity) -> bool:
        if not here.same_file(file.identity):
            return False
        if here.ctime_ns == file.identity.ctime_ns:
            return True
        digest = hashlib.sha256()  # in doubt: somebody touched the file without changing size or time
        with endpoint.read(file.folder, file.name) as chunks:
            for chunk in chunks:
                digest.update(chunk)
        return digest.hexdigest() == self._journal.ledger.of_source(file.id)[0].sha256

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
        taking = Taking(file.endpoint, file.place, file.filed_folder, file.filed_name, identity, staged, None)
        with self._journal.connection.transaction():
            for message in self._journal.ledger.claim(taking, routes, logged, now)[:1]:
                self._journal.ledger.file_of(message, SourceState.FILED, file.filed_folder, file.filed_name)


def _stat(endpoint: Endpoint, folder: str, name: str) -> Listed | None:
    try:
        return endpoint.stat(folder, name)
    except Absent:
        return None
