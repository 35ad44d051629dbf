"""Parts put aside: each under its temporary name in the target folder, its final name chosen.

Owns the choice of the final name (`exists`) and the writing of temporaries, small ones together where the endpoint can.
Renames nothing, commits nothing but the names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from cegid_daemon.endpoints.many import SMALL, Looked, Small, put_many, stat_many
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, EndpointError, Permanent, Place, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import Route
from cegid_daemon.pipeline.naming import numbered
from cegid_daemon.pipeline.targets import Targets, policy, runs

_TOGETHER = 64  # files written in one go
_BYTES = 256 << 10  # of them: on the slowest of lines the watchdog must hear of it before two minutes are over


@dataclass(slots=True)
class Names:
    """The final names of one batch: those it has chosen, and what lay under the likely ones when it began."""

    chosen: set[str] = field(default_factory=set)
    looks: dict[tuple[str, str], Looked] = field(default_factory=dict)


class Aside:
    """Names parts and writes their temporaries."""

    def __init__(self, journal: Journal, targets: Targets, beat: Callable[[], None]) -> None:
        self._journal = journal
        self._targets = targets
        self._beat = beat

    # -- names ------------------------------------------------------------------------------------------------------

    def names(self, route: Route, fresh: Sequence[Delivery]) -> Names:
        """What a batch has to know of the target folder: asked in one go where the endpoint can."""
        names = Names()
        for (endpoint, folder), some in self._targets.by_folder(fresh):
            if endpoint.abilities.together and not _overwrites(endpoint, policy(route)):
                wanted = list(dict.fromkeys(one.name for one in some))
                found = zip(wanted, stat_many(endpoint, folder, wanted), strict=True)
                names.looks.update(((_place(endpoint, folder), name), look) for name, look in found)
        return names

    def name(self, route: Route, delivery: Delivery, names: Names) -> None:
        """Chooses and stores the final name. Raises EndpointError."""
        endpoint = self._targets.endpoint(delivery)
        with self.minding_the_folder(endpoint, delivery):
            name = self.final_name(endpoint, policy(route), delivery, names)
        names.chosen.add(name)
        if (name, endpoint.where) != (delivery.name, delivery.place):
            self._journal.outgoing.rename(delivery.id, name, endpoint.where)

    def final_name(self, endpoint: Endpoint, exists: str, delivery: Delivery, names: Names) -> str:
        """The name a part is to get. Permanent if it is taken and may neither be replaced nor numbered."""
        if _overwrites(endpoint, exists):
            return delivery.name
        number, name = 1, delivery.name
        while name in names.chosen or _is_taken(endpoint, delivery.folder, name, names):
            if exists == "fail":
                raise Permanent(
                    f"{name!r} is there already and may not be replaced",
                    where=Place(file=f"{endpoint.where}/{delivery.folder}"),
                    remedy="Take the file away, then replay the message.",
                )
            number += 1
            name = numbered(delivery.name, number)
        return name

    @contextlib.contextmanager
    def minding_the_folder(self, endpoint: Endpoint, delivery: Delivery) -> Iterator[None]:
        """When a folder comes back, a temporary missing in it says nothing: it may have gone with the folder."""
        try:
            yield
        except Absent as exc:
            self._journal.outgoing.doubt(endpoint.where, delivery.folder)
            raise Transient(
                f"the folder {delivery.folder or '/'} of {endpoint.where} is gone",
                why=f"{delivery.name!r} is to be delivered there",
                remedy="Make the folder (or mount it) again; the message is then sent by itself.",
            ) from exc

    # -- bytes ------------------------------------------------------------------------------------------------------

    def write(self, deliveries: Sequence[Delivery]) -> dict[int, EndpointError]:
        """Writes the temporaries in order; the errors by delivery.

        Ends at the first error that is not for good: what comes behind it must wait, and is not written.
        """
        errors: dict[int, EndpointError] = {}
        for run in runs(self._targets, deliveries, _TOGETHER, most_bytes=_BYTES):
            for small, neighbours in groupby(run, lambda one: one.size < SMALL):
                self._beat()
                some = list(neighbours)
                errors |= self._write_small(some) if small else self._write_large(some)
                if any(not isinstance(error, Permanent) for error in errors.values()):
                    return errors
        return errors

    def _write_small(self, deliveries: Sequence[Delivery]) -> dict[int, EndpointError]:
        endpoint, folder = self._targets.endpoint(deliveries[0]), deliveries[0].folder
        read = self._journal.payloads.read
        files = [Small(one.temporary, b"".join(read(one.payload))) for one in deliveries]
        outcomes = zip(deliveries, put_many(endpoint, folder, files), strict=True)
        return {one.id: self._minded(endpoint, one, error) for one, error in outcomes if error is not None}

    def _write_large(self, deliveries: Sequence[Delivery]) -> dict[int, EndpointError]:
        errors: dict[int, EndpointError] = {}
        for one in deliveries:
            self._beat()
            endpoint = self._targets.endpoint(one)
            try:
                endpoint.put(one.folder, one.temporary, self._journal.payloads.read(one.payload))
            except EndpointError as error:
                errors[one.id] = self._minded(endpoint, one, error)
                if not isinstance(error, Permanent):
                    break
        return errors

    def _minded(self, endpoint: Endpoint, delivery: Delivery, error: EndpointError) -> EndpointError:
        try:
            with self.minding_the_folder(endpoint, delivery):
                raise error
        except EndpointError as told:
            return told


def _overwrites(endpoint: Endpoint, exists: str) -> bool:
    return exists == "replace" and endpoint.abilities.replaces


def _is_taken(endpoint: Endpoint, folder: str, name: str, names: Names) -> bool:
    at = (_place(endpoint, folder), name)
    look = names.looks[at] if at in names.looks else endpoint.stat(folder, name)
    if isinstance(look, EndpointError):
        raise look
    return look is not None


def _place(endpoint: Endpoint, folder: str) -> str:
    return f"{endpoint.where}/{folder}"
