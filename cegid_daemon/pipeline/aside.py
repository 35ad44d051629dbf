"""Parts put aside: each under its temporary name in the target folder, its final name chosen.

Owns the choice of the final name (`exists`) and the writing of temporaries, small ones together where the endpoint can.
Renames nothing, commits nothing but the names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

from cegid_daemon.endpoints.many import SMALL, Looked, Small, put_many, stat_many
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, EndpointError, Permanent, Place, Refused, Taken, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import DeliveryState, Route
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
        self._there: set[tuple[str, str, str]] = set()  # place, folder, route: prepared for temporary names

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

    def name(self, route: Route, delivery: Delivery, names: Names) -> Delivery:
        """The delivery with its final name, which is stored. Raises EndpointError."""
        endpoint = self._targets.endpoint(delivery)
        with self.minding_the_folder(endpoint, delivery.folder, delivery.name):
            name = self.final_name(endpoint, policy(route), delivery, names)
        names.chosen.add(name)
        if name != delivery.name:
            self._journal.outgoing.rename(delivery.id, name, endpoint.where)
        return replace(delivery, name=name)

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
    def minding_the_folder(self, endpoint: Endpoint, folder: str, name: str) -> Iterator[None]:
        """When a folder comes back, a temporary missing in it says nothing: it may have gone with the folder."""
        try:
            yield
        except Absent as exc:
            self._journal.outgoing.doubt(endpoint.where, folder)
            self._there = {there for there in self._there if there[:2] != (endpoint.where, folder)}
            raise Transient(
                f"the folder {folder or '/'} of {endpoint.where} is gone",
                why=f"{name!r} is to be delivered there",
                remedy="Make the folder (or mount it) again; the message is then sent by itself.",
            ) from exc

    # -- bytes ------------------------------------------------------------------------------------------------------

    def doubt_missing(self, deliveries: Iterable[Delivery], now: datetime) -> set[int]:
        """A temporary was taken at once: of those written beside it, what is gone was taken too. Returns those."""
        doubtful: set[int] = set()
        for (endpoint, folder), some in self._targets.by_folder(deliveries, aside=True):
            looks = zip(some, stat_many(endpoint, folder, [one.aside_name for one in some]), strict=True)
            for one, look in looks:
                if look is None or isinstance(look, EndpointError):
                    state = DeliveryState.UNSURE if look is None else DeliveryState.SENDING
                    self._journal.outgoing.set_state([one.id], state, now)
                    doubtful.add(one.id)
        return doubtful

    def write(self, route: Route, deliveries: Sequence[Delivery], now: datetime) -> dict[int, EndpointError | None]:
        """Writes the temporaries in order; the outcomes of those that were begun by delivery, None where it is whole.

        Ends at the first error that is not for good: what comes behind it must wait, and is not written.
        """
        outcomes: dict[int, EndpointError | None] = {}
        try:
            self._prepare(route, deliveries)
        except EndpointError as error:
            return {one.id: error for one in deliveries}
        for run in runs(self._targets, deliveries, _TOGETHER, most_bytes=_BYTES):
            for small, neighbours in groupby(run, lambda one: one.size < SMALL):
                self._beat()
                some = list(neighbours)
                outcomes |= self._write_small(some, now) if small else self._write_large(some, now)
                if any(error is not None and not isinstance(error, Permanent) for error in outcomes.values()):
                    return outcomes
        return outcomes

    def _prepare(self, route: Route, deliveries: Sequence[Delivery]) -> None:
        """Notes the kind of temporary names, by which leftovers are known later, and makes the folder they are in."""
        for (endpoint, folder), some in self._targets.by_folder(deliveries, aside=True):
            if (here := (endpoint.where, folder, route.name)) in self._there:
                continue
            if route.target is not None:
                at = (route.name, endpoint.where, some[0].folder)
                self._journal.places.use_pattern(*at, route.target.temporary)
            if folder != some[0].folder:
                self._make_folder(endpoint, some[0])
            self._there.add(here)

    def _make_folder(self, endpoint: Endpoint, one: Delivery) -> None:
        try:
            endpoint.stat(one.aside_folder, one.aside_name)
        except Absent:
            with self.minding_the_folder(endpoint, one.folder, one.name):
                endpoint.stat(one.folder, one.name)
            self._journal.outgoing.doubt(endpoint.where, one.aside_folder)
            try:
                endpoint.make_folder(one.aside_folder)
            except EndpointError as error:
                raise Transient(
                    f"the folder {one.aside_folder} of {endpoint.where} is not there and cannot be made",
                    where=error.where, why=error.why or error.what,
                    remedy="Make it on the server, or set another `temporary` in the route's target (`check --live` "
                    "tells which works). The message is then sent by itself.",
                ) from error  # fmt: skip

    def _write_small(self, deliveries: Sequence[Delivery], now: datetime) -> dict[int, EndpointError | None]:
        endpoint, folder = self._targets.endpoint(deliveries[0]), deliveries[0].aside_folder
        outcomes: dict[int, EndpointError | None] = {}
        files: dict[int, Small] = {}
        for one in deliveries:
            try:
                files[one.id] = Small(one.aside_name, b"".join(self.read(one)))
            except Permanent as error:
                outcomes[one.id] = error
        with_bytes = [one for one in deliveries if one.id in files]
        errors = zip(with_bytes, put_many(endpoint, folder, list(files.values())), strict=True)
        return outcomes | {one.id: told and self._judged(endpoint, one, told, now) for one, told in errors}

    def read(self, delivery: Delivery) -> Iterator[bytes]:
        """The bytes of a part. Permanent if they are gone: a person closed the message of a store without log."""
        try:
            yield from self._journal.payloads.read(delivery.payload)
        except Refused as exc:
            raise Permanent(f"the bytes of {delivery.name!r} are gone", why=exc.what) from exc

    def _write_large(self, deliveries: Sequence[Delivery], now: datetime) -> dict[int, EndpointError | None]:
        outcomes: dict[int, EndpointError | None] = {}
        for one in deliveries:
            self._beat()
            endpoint = self._targets.endpoint(one)
            try:
                endpoint.put(one.aside_folder, one.aside_name, self.read(one))
            except EndpointError as error:
                outcomes[one.id] = self._judged(endpoint, one, error, now)
                if not isinstance(error, Permanent):
                    break
            else:
                outcomes[one.id] = None
        return outcomes

    def _judged(self, endpoint: Endpoint, one: Delivery, error: EndpointError, now: datetime) -> EndpointError:
        """What the error of an upload means; what nobody knows of it is noted."""
        if isinstance(error, Taken):
            self._journal.outgoing.set_state([one.id], DeliveryState.UNSURE, now)
            return taken_aside(endpoint, one, error.why)
        if isinstance(error, Unsure):
            self._journal.outgoing.set_state([one.id], DeliveryState.SENDING, now)
            return Transient(
                error.what, where=error.where, why=error.why,
                remedy="It is looked at soon: the temporary file tells whether it is to be sent again.",
            )  # fmt: skip
        try:
            with self.minding_the_folder(endpoint, one.aside_folder, one.name):
                raise error
        except EndpointError as told:
            return told


def taken_aside(endpoint: Endpoint, one: Delivery, why: str) -> Taken:
    """A temporary file was taken by somebody before it could be renamed: sent again, it might arrive twice."""
    return Taken(
        f"{one.temporary} was taken before it could be renamed to {one.name!r}",
        where=Place(file=f"{endpoint.where}/{one.folder}"),
        why=why,
        remedy='If the receiver takes every upload at once, set temporary = "none" in the route\'s target (`check '
        "--live` tells what works). Look whether it got this file, then `release` (send it again) or `discard` the "
        "message.",
    )


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
