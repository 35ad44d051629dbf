"""Delivered exactly once: the temporary file is the witness (docs/architecture.md, the crash table).

Puts every part of a batch aside under its temporary name, commits `uploaded`, renames in order, makes the renames
durable. After a kill the temporary tells what happened: still there → rename; gone → delivered. Never looks at the
final name to find out whether something was delivered: a receiver takes files away within a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Exists, Permanent, Place, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Route, TargetSpec
from cegid_daemon.pipeline.naming import numbered

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """What came of one try to deliver a batch: the messages that arrived, and the first that did not."""

    delivered: list[Message] = field(default_factory=list)
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    stopped: tuple[Message, CegidDaemonError] | None = None  # it must wait, and all behind it


class Delivering:
    """Carries the deliveries of rewritten messages to their endpoints."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], beat: Callable[[], None]) -> None:
        self._journal = journal
        self._endpoints = endpoints
        self._beat = beat

    def deliver(self, route: Route, batch: Sequence[Message], now: datetime) -> Round:
        """Delivers the messages in order, as far as possible; commits each step, but not the end of the messages."""
        outcome = Round()
        aside: list[tuple[Message, list[Delivery]]] = []
        chosen: set[str] = set()  # names this batch will rename to, under `exists = "version"`
        for message in batch:
            if self._try(outcome, message, partial(self._put_aside, route, self._open(message), chosen)):
                aside.append((message, self._open(message)))
            elif outcome.stopped:
                break
        self._commit_uploaded(route, [one for _, deliveries in aside for one in deliveries], now)
        for message, deliveries in aside:
            if self._try(outcome, message, partial(self._rename_all, route, deliveries, now)):
                outcome.delivered.append(message)
            elif outcome.stopped:
                break
        if outcome.delivered and route.target is not None:
            self._endpoints[route.target.endpoint].sync(route.target.folder)
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
        return [one for one in self._journal.outgoing.of_message(message.id) if not _over(one)]

    # -- aside ------------------------------------------------------------------------------------------------------

    def _put_aside(self, route: Route, deliveries: Sequence[Delivery], chosen: set[str]) -> None:
        assert route.target is not None
        for delivery in deliveries:
            if delivery.state in (DeliveryState.DUE, DeliveryState.SENDING):
                endpoint = self._endpoint(delivery)
                name = self._final_name(endpoint, route.target, delivery, chosen)
                chosen.add(name)
                if (name, endpoint.where) != (delivery.name, delivery.place):
                    self._journal.outgoing.rename(delivery.id, name, endpoint.where)
                endpoint.put(delivery.folder, delivery.temporary, self._journal.payloads.read(delivery.payload))

    def _final_name(self, endpoint: Endpoint, target: TargetSpec, delivery: Delivery, chosen: set[str]) -> str:
        if target.exists == "replace" and endpoint.abilities.replaces:
            return delivery.name
        number, name = 1, delivery.name
        while name in chosen or endpoint.stat(delivery.folder, name) is not None:
            if target.exists == "fail":
                raise Permanent(
                    f"{name!r} is there already and may not be replaced",
                    where=Place(file=f"{endpoint.where}/{delivery.folder}"),
                    remedy="Take the file away, then replay the message.",
                )
            number += 1
            name = numbered(delivery.name, number)
        return name

    def _commit_uploaded(self, route: Route, deliveries: Sequence[Delivery], now: datetime) -> None:
        fresh = [one.id for one in deliveries if one.state in (DeliveryState.DUE, DeliveryState.SENDING)]
        if fresh and route.target is not None:
            self._endpoints[route.target.endpoint].sync(route.target.folder)
        self._journal.outgoing.set_state(fresh, DeliveryState.UPLOADED, now)

    # -- rename -----------------------------------------------------------------------------------------------------

    def _rename_all(self, route: Route, deliveries: Sequence[Delivery], now: datetime) -> None:
        for delivery in deliveries:
            earlier = delivery.state in (DeliveryState.UPLOADED, DeliveryState.UNSURE)
            if earlier and not self._still_aside(delivery, now):
                continue  # renamed before the last stop: delivered, whether or not the final name still lies there
            self._rename(route, delivery, now)

    def _still_aside(self, delivery: Delivery, now: datetime) -> bool:
        """Whether a part that was put aside in an earlier run is still waiting there under its temporary name."""
        endpoint = self._endpoint(delivery)
        if endpoint.where != delivery.place:
            raise Unsure(
                f"the endpoint {delivery.endpoint} was changed while {delivery.name!r} was on its way",
                where=Place(file=f"{delivery.place}/{delivery.folder}"),
                why=f"it now is {endpoint.where}",
                remedy="Look whether the file arrived at the old place, then `release` (send it) or `discard` it.",
            )
        try:
            there = endpoint.stat(delivery.folder, delivery.temporary) is not None
        except Absent as exc:
            # When the folder comes back without the temporary, nobody can tell whether it was renamed before.
            self._journal.outgoing.set_state([delivery.id], DeliveryState.UNSURE, now)
            raise _folder_gone(endpoint, delivery) from exc
        if not there and delivery.state is DeliveryState.UNSURE:
            raise Unsure(
                f"nobody can tell whether {delivery.name!r} arrived",
                where=Place(file=f"{delivery.place}/{delivery.folder}"),
                why=f"its folder was gone for a while, and {delivery.temporary} with it",
                remedy="Look whether the receiver got the file, then `release` (send it again) or `discard` it.",
            )
        return there

    def _rename(self, route: Route, delivery: Delivery, now: datetime) -> None:
        assert route.target is not None
        endpoint = self._endpoint(delivery)
        replace = route.target.exists == "replace" and endpoint.abilities.replaces
        name = delivery.name
        while True:
            try:
                endpoint.rename(delivery.folder, delivery.temporary, delivery.folder, name, replace=replace)
            except Exists:
                name = self._final_name(endpoint, route.target, delivery, set())
                self._journal.outgoing.rename(delivery.id, name, endpoint.where)
            except Absent as exc:
                self._journal.outgoing.set_state([delivery.id], DeliveryState.DUE, now)
                raise _folder_gone(endpoint, delivery) from exc
            else:
                return

    def commit_delivered(self, delivered: Sequence[Message], now: datetime) -> None:
        """Notes that every open delivery of these messages arrived. Joins the caller's transaction."""
        open_ones = [one.id for message in delivered for one in self._open(message)]
        self._journal.outgoing.set_state(open_ones, DeliveryState.DELIVERED, now)

    def withdraw(self, message: Message, now: datetime) -> None:
        """Takes back what was put aside of a message that failed, as far as the endpoint lets us."""
        for delivery in self._open(message):
            try:
                self._endpoint(delivery).remove(delivery.folder, delivery.temporary)
            except EndpointError as error:
                log.debug("nothing to take back of %s: %s", delivery.temporary, error)
        self._journal.outgoing.set_state([one.id for one in self._open(message)], DeliveryState.CANCELLED, now)

    def _endpoint(self, delivery: Delivery) -> Endpoint:
        endpoint = self._endpoints.get(delivery.endpoint)
        if endpoint is None:
            raise Unsure(
                f"the endpoint {delivery.endpoint} is no longer configured",
                why=f"{delivery.name!r} was on its way to it",
                remedy="Configure the endpoint again and reload, or `discard` the message.",
            )
        return endpoint


def _over(delivery: Delivery) -> bool:
    return delivery.state in (DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED)


def _folder_gone(endpoint: Endpoint, delivery: Delivery) -> Transient:
    return Transient(
        f"the folder {delivery.folder or '/'} of {endpoint.where} or the file put aside in it is gone",
        why=f"{delivery.temporary} is not there any more",
        remedy="Make the folder again; the message is then sent by itself.",
    )
