"""Delivered exactly once: the temporary file is the witness (docs/architecture.md, the crash table).

Puts every part of a batch aside under its temporary name, commits `uploaded`, renames in order, makes the renames
durable. After a kill the temporary tells what happened: still there → rename; gone → delivered. Never looks at the
final name to find out whether something was delivered: a receiver takes files away within a second. `uploaded` is
therefore only said of what may be renamed any moment; what is not renamed after all is set back before anything else.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Exists, Permanent, Place, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Route
from cegid_daemon.pipeline.naming import is_temporary, numbered

log = logging.getLogger(__name__)

_Aside = tuple[Message, list[Delivery]]


@dataclass(slots=True)
class Round:
    """What came of one try to deliver a batch: the messages that arrived, and the first that did not."""

    delivered: list[Message] = field(default_factory=list)
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    stopped: tuple[Message, CegidDaemonError] | None = None  # it must wait, and all behind it
    arrived: list[Delivery] = field(default_factory=list)  # the deliveries of `delivered`
    untouched: dict[int, Delivery] = field(default_factory=dict)  # put aside in this round, and not renamed yet


class Delivering:
    """Carries the deliveries of rewritten messages to their endpoints."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], beat: Callable[[], None]) -> None:
        self._journal = journal
        self._endpoints = endpoints
        self._beat = beat
        self._instance = journal.ledger.instance()

    def deliver(self, route: Route, batch: Sequence[Message], now: datetime) -> Round:
        """Delivers the messages in order, as far as possible; commits each step, but not the end of the messages."""
        outcome = Round()
        aside = self._put_all_aside(route, batch, outcome)
        if aside and self._commit_uploaded(aside, outcome, now):
            self._rename_in_order(route, aside, outcome, now)
            self._make_durable(outcome)
        return outcome

    def _try(self, outcome: Round, message: Message, step: Callable[[], None]) -> bool:
        """Runs a step for one message and sorts its failure: permanent ones fail it, others stop the batch."""
        self._beat()
        try:
            step()
        except Permanent as error:
            outcome.failed.append((message, error))
        except EndpointError as error:
            outcome.stopped = (message, error)
        else:
            return True
        return False

    def _open(self, message: Message) -> list[Delivery]:
        return [one for one in self._journal.outgoing.of_message(message.id) if not _is_over(one)]

    # -- aside ------------------------------------------------------------------------------------------------------

    def _put_all_aside(self, route: Route, batch: Sequence[Message], outcome: Round) -> list[_Aside]:
        aside: list[_Aside] = []
        chosen: set[str] = set()  # names this batch will rename to, under `exists = "version"`
        for message in batch:
            deliveries = self._open(message)
            if self._try(outcome, message, lambda: self._put_aside(route, deliveries, chosen)):  # noqa: B023
                aside.append((message, self._open(message)))
            elif outcome.stopped:
                break
        return aside

    def _put_aside(self, route: Route, deliveries: Sequence[Delivery], chosen: set[str]) -> None:
        for delivery in deliveries:
            if _is_fresh(delivery):
                endpoint = self._endpoint(delivery)
                with self._minding_the_folder(endpoint, delivery):
                    name = self._final_name(endpoint, _policy(route), delivery, chosen)
                    chosen.add(name)
                    if (name, endpoint.where) != (delivery.name, delivery.place):
                        self._journal.outgoing.rename(delivery.id, name, endpoint.where)
                    endpoint.put(delivery.folder, delivery.temporary, self._journal.payloads.read(delivery.payload))

    @contextlib.contextmanager
    def _minding_the_folder(self, endpoint: Endpoint, delivery: Delivery) -> Iterator[None]:
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

    def _final_name(self, endpoint: Endpoint, exists: str, delivery: Delivery, chosen: set[str]) -> str:
        if exists == "replace" and endpoint.abilities.replaces:
            return delivery.name
        number, name = 1, delivery.name
        while name in chosen or endpoint.stat(delivery.folder, name) is not None:
            if exists == "fail":
                raise Permanent(
                    f"{name!r} is there already and may not be replaced",
                    where=Place(file=f"{endpoint.where}/{delivery.folder}"),
                    remedy="Take the file away, then replay the message.",
                )
            number += 1
            name = numbered(delivery.name, number)
        return name

    def _commit_uploaded(self, aside: Sequence[_Aside], outcome: Round, now: datetime) -> bool:
        """Makes the new temporaries durable and says so; False if that cannot be done now."""
        fresh = [one for _, deliveries in aside for one in deliveries if _is_fresh(one)]
        try:
            for endpoint, one in self._folders(fresh):
                with self._minding_the_folder(endpoint, one):
                    endpoint.sync(one.folder)
        except EndpointError as error:
            outcome.stopped = (aside[0][0], error)
            return False
        self._journal.outgoing.set_state([one.id for one in fresh], DeliveryState.UPLOADED, now)
        outcome.untouched = {one.id: one for one in fresh}
        return True

    def _folders(self, deliveries: Iterable[Delivery]) -> list[tuple[Endpoint, Delivery]]:
        """One delivery for each folder among `deliveries`, with its endpoint."""
        by_folder = {(one.endpoint, one.folder): one for one in deliveries}
        return [(self._endpoint(one), one) for one in by_folder.values()]

    # -- rename -----------------------------------------------------------------------------------------------------

    def _rename_in_order(self, route: Route, aside: Sequence[_Aside], outcome: Round, now: datetime) -> None:
        for message, deliveries in aside:
            if self._try(outcome, message, lambda: self._rename_all(route, deliveries, outcome, now)):  # noqa: B023
                outcome.delivered.append(message)
                outcome.arrived += deliveries
            elif outcome.stopped:
                break
        if outcome.untouched:  # were they left `uploaded`, a temporary that goes missing would pass for delivered
            self._journal.outgoing.set_state(outcome.untouched, DeliveryState.DUE, now)

    def _rename_all(self, route: Route, deliveries: Sequence[Delivery], outcome: Round, now: datetime) -> None:
        for delivery in deliveries:
            if _is_fresh(delivery) or self._is_still_aside(delivery, now):
                self._rename(route, delivery, outcome)
            # Else it was renamed before the last stop: delivered, whether or not the final name still lies there.

    def _is_still_aside(self, delivery: Delivery, now: datetime) -> bool:
        """Whether a part that was put aside in an earlier run is still waiting there under its temporary name."""
        endpoint = self._endpoint(delivery)
        if endpoint.where != delivery.place:
            self._journal.outgoing.set_state([delivery.id], DeliveryState.UNSURE, now)
            raise Unsure(
                f"the endpoint {delivery.endpoint} was changed while {delivery.name!r} was on its way",
                where=Place(file=f"{delivery.place}/{delivery.folder}"),
                why=f"it now is {endpoint.where}",
                remedy="Look whether the file arrived at the old place, then `release` (send it) or `discard` it.",
            )
        with self._minding_the_folder(endpoint, delivery):
            there = endpoint.stat(delivery.folder, delivery.temporary) is not None
        if not there and delivery.state is DeliveryState.UNSURE:
            raise Unsure(
                f"nobody can tell whether {delivery.name!r} arrived",
                where=Place(file=f"{delivery.place}/{delivery.folder}"),
                why=f"its folder was gone for a while, and {delivery.temporary} with it",
                remedy="Look whether the receiver got the file, then `release` (send it again) or `discard` it.",
            )
        return there

    def _rename(self, route: Route, delivery: Delivery, outcome: Round) -> None:
        endpoint = self._endpoint(delivery)
        replace = _policy(route) == "replace" and endpoint.abilities.replaces
        name = delivery.name
        first = outcome.untouched.pop(delivery.id, None) is not None
        while True:
            try:
                endpoint.rename(delivery.folder, delivery.temporary, delivery.folder, name, replace=replace)
            except Exists:
                if replace:
                    raise  # a folder lies under the name
                name = self._final_name(endpoint, _policy(route), delivery, set())
                self._journal.outgoing.rename(delivery.id, name, endpoint.where)
            except Unsure as exc:
                raise Transient(
                    exc.what, where=exc.where, why=exc.why,
                    remedy="It is looked at soon: the temporary file tells whether it arrived.",
                ) from exc  # fmt: skip
            except Absent as exc:
                if first:  # else an earlier rename, whose answer was lost, may have come late: the next look tells
                    outcome.untouched[delivery.id] = delivery
                raise Transient(
                    f"{delivery.temporary} is gone from {endpoint.where}/{delivery.folder}",
                    why=f"it was put aside there, to become {delivery.name!r}",
                    remedy="Leave files with that name alone; make the folder again if it is missing. "
                    "The message is then sent by itself.",
                ) from exc
            else:
                return

    def _make_durable(self, outcome: Round) -> None:
        """Syncs what was renamed to. A folder that is gone by now was taken away with what was delivered into it."""
        try:
            for endpoint, one in self._folders(outcome.arrived):
                with contextlib.suppress(Absent):
                    endpoint.sync(one.folder)
        except EndpointError as error:
            outcome.stopped = (outcome.delivered[0], error)
            outcome.delivered, outcome.arrived = [], []

    # -- ends -------------------------------------------------------------------------------------------------------

    def commit_delivered(self, outcome: Round, now: datetime) -> None:
        """Notes what arrived. Joins the caller's transaction."""
        self._journal.outgoing.set_state([one.id for one in outcome.arrived], DeliveryState.DELIVERED, now)

    def fates(self, message: Message) -> list[tuple[Delivery, DeliveryState]]:
        """What is to be said of the open deliveries of a message that failed. Asks the endpoint, changes nothing."""
        return [(one, self._fate(one)) for one in self._open(message)]

    def _fate(self, delivery: Delivery) -> DeliveryState:
        if _is_fresh(delivery):
            return DeliveryState.CANCELLED
        if delivery.state is DeliveryState.UNSURE:
            return DeliveryState.UNSURE
        try:
            there = self._endpoint(delivery).stat(delivery.folder, delivery.temporary) is not None
        except EndpointError:
            return DeliveryState.UNSURE
        return DeliveryState.CANCELLED if there else DeliveryState.DELIVERED

    def commit_fates(self, fates: Iterable[tuple[Delivery, DeliveryState]], now: datetime) -> None:
        """Notes them. Joins the caller's transaction."""
        for delivery, state in fates:
            self._journal.outgoing.set_state([delivery.id], state, now)

    def take_back(self, fates: Iterable[tuple[Delivery, DeliveryState]]) -> None:
        """Removes what was put aside of cancelled deliveries: after the commit, or a kill would call them delivered."""
        for delivery, state in fates:
            if state is DeliveryState.CANCELLED:
                with contextlib.suppress(EndpointError):  # `clear` finds it later
                    self._endpoint(delivery).remove(delivery.folder, delivery.temporary)

    def clear(self, route: Route) -> None:
        """Removes temporaries of ours from the route's target folder that belong to no open delivery.

        Such are left by a kill between commit and removal, and by a message discarded while a part was put aside.
        """
        if route.target is None or route.target.endpoint not in self._endpoints:
            return
        endpoint, folder = self._endpoints[route.target.endpoint], route.target.folder
        ours = [one.name for one in endpoint.list(folder) if is_temporary(self._instance, one.name)]
        alive = self._journal.outgoing.temporaries(endpoint.where, folder) if ours else set()  # asked after the look
        for name in ours:
            if name not in alive:
                with contextlib.suppress(Absent):
                    endpoint.remove(folder, name)

    def _endpoint(self, delivery: Delivery) -> Endpoint:
        endpoint = self._endpoints.get(delivery.endpoint)
        if endpoint is None:
            raise Transient(
                f"the endpoint {delivery.endpoint} is no longer configured",
                why=f"{delivery.name!r} is on its way to it",
                remedy="Configure the endpoint again and reload, or `discard` the message.",
            )
        return endpoint


def _policy(route: Route) -> str:
    return route.target.exists if route.target is not None else "replace"


def _is_fresh(delivery: Delivery) -> bool:
    """Whether nothing of it was put aside for certain when the row was read."""
    return delivery.state in (DeliveryState.DUE, DeliveryState.SENDING)


def _is_over(delivery: Delivery) -> bool:
    return delivery.state in (DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED)
