"""A listed file of a source, read whole and compared with what was taken under its name before.

Owns what a file must be to be claimed: what was listed, whole, and not the bytes a left file was last taken with.
Claims nothing and keeps nothing between files.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from cegid_daemon.endpoints.many import Fetched
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import SourceChanged
from cegid_daemon.journal import Journal
from cegid_daemon.journal.payloads import Staged
from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import Fault, Identity, Listed, Route, SourceSpec, escape_name, location
from cegid_daemon.pipeline.growth import StartDigest, hold_for_growth, may_double

log = logging.getLogger(__name__)

SMALL = 256 << 10  # bytes: handed to the workshop directly instead of through the journal


class Intake:
    """Reads the files of one source."""

    def __init__(self, routes: Sequence[Route], endpoint: Endpoint, journal: Journal) -> None:
        self._routes = tuple(routes)
        self._spec: SourceSpec = routes[0].source
        self._endpoint = endpoint
        self._journal = journal
        self._may_double = may_double(routes)

    def read(self, file: Listed, fetched: Fetched | None) -> Taking | None:
        """The file ready to be claimed; None if it was left with these bytes before. `fetched`: it was read already.

        Raises SourceChanged if it is not what was listed, Absent, EndpointError.
        """
        if fetched is None:
            with self._endpoint.read(self._spec.folder, file.name) as reading:
                return self._taken(file, reading.identity, reading)
        if fetched.fault is not None:
            raise fetched.fault
        assert fetched.identity is not None
        return self._taken(file, fetched.identity, [fetched.body])

    def discard(self, taking: Taking) -> None:
        """What was read is not claimed."""
        if taking.staged is not None:
            self._journal.payloads.discard(taking.staged)

    def is_too_large(self, identity: Identity) -> bool:
        """Whether the routes do not take a file of this size."""
        return 0 < self._spec.max_size < identity.size

    def _taken(self, file: Listed, identity: Identity, chunks: Iterable[bytes]) -> Taking | None:
        if not identity.same_file(file.identity):
            raise SourceChanged(f"{escape_name(file.name)} changed since it was listed")
        place, folder = self._endpoint.where, self._spec.folder
        taking = Taking(self._spec.endpoint, place, folder, file.name, identity, None, None)
        if self.is_too_large(identity):
            return taking
        staged, raw, hold = self._stage(taking, chunks)
        taking = replace(taking, staged=staged, raw=raw, hold=hold)
        if self._spec.after == "leave" and self._was_left(taking):
            self.discard(taking)
            return None
        return taking

    def _stage(self, taking: Taking, chunks: Iterable[bytes]) -> tuple[Staged, bytes | None, Fault | None]:
        """The bytes, and why their messages are held: they may begin with orders that went out before."""
        earlier = None
        if self._may_double:
            earlier = self._journal.sources.earlier(taking.place, taking.folder, taking.name)
        if earlier is None:
            return *self._stage_bytes(taking, chunks), None
        start = StartDigest(chunks, earlier.identity.size)
        staged, raw = self._stage_bytes(taking, start)
        return staged, raw, hold_for_growth(self._journal, earlier, self._routes, taking.identity, start)

    def _stage_bytes(self, taking: Taking, chunks: Iterable[bytes]) -> tuple[Staged, bytes | None]:
        if taking.identity.size > SMALL:
            return self._journal.payloads.stage_bytes(chunks), None
        raw = b"".join(chunks)
        return self._journal.payloads.stage_bytes([raw]), raw

    def _was_left(self, taking: Taking) -> bool:
        touched = self._spec.leave_changed == "content"
        if not self._journal.sources.left_before(taking, touched=touched):
            return False
        where = location(taking.place, taking.folder, taking.name)
        log.info("%s has the bytes it was last taken with and is not sent again", where)
        return True
