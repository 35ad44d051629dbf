"""Delivered exactly once: the temporary file is the witness (docs/architecture.md, the crash table).

Puts every part of a batch aside under its temporary name, commits `uploaded`, renames in order, makes the renames
durable. After a kill the temporary tells what happened: still there → rename; gone → delivered. Never looks at the
final name to find out whether something was delivered: a receiver takes files away within a second. `uploaded` is
therefore only said of what may be renamed any moment; what is not renamed after all is set back before anything else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Permanent
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Route
from cegid_daemon.pipeline.arriving import Arriving
from cegid_daemon.pipeline.aside import Aside
from cegid_daemon.pipeline.naming import is_temporary
from cegid_daemon.pipeline.targets import Targets, is_same_folder, mark_of

_Parts = tuple[Message, Sequence[Delivery]]


@dataclass(slots=True)
class Round:
    """What came of one try to deliver a batch: the messages that arrived, and the first that did not.

    Of a group that goes together, messages behind the one that stopped may have arrived too.
    """

    delivered: list[Message] = field(default_factory=list)
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    refused: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # in part, of `delivered`
    stopped: tuple[Message, CegidDaemonError] | None = None  # it must wait, and all behind it
    arrived: list[Delivery] = field(default_factory=list)  # the deliveries of `delivered`
    untouched: dict[int, Delivery] = field(default_factory=dict)  # put aside in this round, and not renamed yet


class Delivering:
    """Carries the deliveries of rewritten messages to their endpoints."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], beat: Callable[[], None]) -> None:
        self._journal = journal
        self._targets = Targets(endpoints)
        self._aside = Aside(journal, self._targets, beat)
        self._arriving = Arriving(journal, self._targets, self._aside, beat)
        self._instance = journal.ledger.instance()

    def deliver(self, route: Route, batch: Sequence[Message], now: datetime) -> Round:
        """Delivers the messages in order, as far as possible; commits each step, but not the end of the messages."""
        outcome = Round()
        aside = self._put_all_aside(route, batch, outcome)
        if aside and self._commit_uploaded(aside, outcome):
            self._rename_in_order(route, aside, outcome, now)
            self._make_durable(outcome)
        return outcome

    def _as_far_as_possible(
        self, parts: Sequence[_Parts], step: Callable[[Sequence[Delivery]], None], outcome: Round
    ) -> list[_Parts]:
        """Runs a step for each message; those with which it went well, up to the first that must wait.

        A permanent failure fails its message alone.
        """
        done: list[_Parts] = []
        for message, deliveries in parts:
            try:
                step(deliveries)
            except Permanent as error:
                outcome.failed.append((message, error))
            except EndpointError as error:
                outcome.stopped = (message, error)
                break
            else:
                done.append((message, deliveries))
        return done

    def _open(self, message: Message) -> list[Delivery]:
        return [one for one in self._journal.outgoing.of_message(message.id) if not _is_over(one)]

    # -- aside ------------------------------------------------------------------------------------------------------

    def _put_all_aside(self, route: Route, batch: Sequence[Message], outcome: Round) -> list[_Parts]:
        parts = [(message, self._open(message)) for message in batch]
        names = self._aside.names(route, _fresh(parts))

        def name(deliveries: Sequence[Delivery]) -> None:
            for one in filter(_is_fresh, deliveries):
                self._aside.name(route, one, names)

        named = self._as_far_as_possible(parts, name, outcome)
        errors = self._aside.write(_fresh(named))
        written = self._as_far_as_possible(named, lambda deliveries: _raise_first(errors, deliveries), outcome)
        return [(message, self._open(message)) for message, _ in written]

    def _commit_uploaded(self, aside: Sequence[_Parts], outcome: Round) -> bool:
        """Makes the new temporaries durable and says so; False if that cannot be done now."""
        fresh = _fresh(aside)
        marks: dict[int, str] = {}
        try:
            for (endpoint, folder), some in self._targets.by_folder(fresh):
                with self._aside.minding_the_folder(endpoint, some[0]):
                    endpoint.sync(folder)
                    marks |= dict.fromkeys([one.id for one in some], mark_of(endpoint, folder))
        except EndpointError as error:
            outcome.stopped = (aside[0][0], error)
            return False
        self._journal.outgoing.uploaded(marks)
        outcome.untouched = {one.id: one for one in fresh}
        return True

    # -- rename -----------------------------------------------------------------------------------------------------

    def _rename_in_order(self, route: Route, aside: Sequence[_Parts], outcome: Round, now: datetime) -> None:
        waiting = self._still_aside(aside, outcome, now)
        outcomes = self._arriving.rename(route, [one for _, some in waiting for one in some], outcome.untouched)
        deliveries = {message.id: some for message, some in aside}
        stopped: list[tuple[Message, CegidDaemonError]] = []
        for message, some in waiting:
            errors = [error for one in some if (error := outcomes.get(one.id)) is not None]
            if errors:
                (outcome.failed if isinstance(errors[0], Permanent) else stopped).append((message, errors[0]))
            elif all(one.id in outcomes for one in some):
                outcome.delivered.append(message)
                outcome.arrived += deliveries[message.id]
        outcome.stopped = stopped[0] if stopped else outcome.stopped  # one noted before is of a message further behind
        if outcome.untouched:  # were they left `uploaded`, a temporary that goes missing would pass for delivered
            self._journal.outgoing.set_state(outcome.untouched, DeliveryState.DUE, now)

    def _still_aside(self, aside: Sequence[_Parts], outcome: Round, now: datetime) -> list[_Parts]:
        """The messages, as far as it can be told of them, with the parts that are to be renamed.

        What an earlier run put aside and is not there any more was renamed before the last stop: it is delivered,
        whether or not the final name still lies there.
        """
        earlier = [one for _, some in aside for one in some if not _is_fresh(one)]
        looks = self._arriving.look(earlier)
        gone: set[int] = set()

        def look(deliveries: Sequence[Delivery]) -> None:
            for one in deliveries:
                if not _is_fresh(one) and not self._arriving.is_still_aside(one, looks, now):
                    gone.add(one.id)

        known = self._as_far_as_possible(aside, look, outcome)
        return [(message, [one for one in some if one.id not in gone]) for message, some in known]

    def _make_durable(self, outcome: Round) -> None:
        """Syncs what was renamed to. A folder that is gone by now was taken away with what was delivered into it."""
        try:
            for (endpoint, folder), _ in self._targets.by_folder(outcome.arrived):
                with contextlib.suppress(Absent):
                    endpoint.sync(folder)
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
            endpoint = self._targets.endpoint(delivery)
            if endpoint.stat(delivery.folder, delivery.temporary) is not None:
                return DeliveryState.CANCELLED
            return DeliveryState.DELIVERED if is_same_folder(endpoint, delivery) else DeliveryState.UNSURE
        except EndpointError:
            return DeliveryState.UNSURE

    def commit_fates(self, fates: Iterable[tuple[Delivery, DeliveryState]], now: datetime) -> None:
        """Notes them. Joins the caller's transaction."""
        for delivery, state in fates:
            self._journal.outgoing.set_state([delivery.id], state, now)

    def take_back(self, fates: Iterable[tuple[Delivery, DeliveryState]]) -> None:
        """Removes what was put aside of cancelled deliveries: after the commit, or a kill would call them delivered."""
        for delivery, state in fates:
            if state is DeliveryState.CANCELLED:
                with contextlib.suppress(EndpointError):  # `clear` finds it later
                    self._targets.endpoint(delivery).remove(delivery.folder, delivery.temporary)

    def clear(self, route: Route) -> None:
        """Removes temporaries of ours from the route's target folder that belong to no open delivery.

        Such are left by a kill between commit and removal, and by a message discarded while a part was put aside.
        """
        if (target := self._targets.of_route(route)) is None:
            return
        endpoint, folder = target
        ours = [one.name for one in endpoint.list(folder) if is_temporary(self._instance, one.name)]
        alive = self._journal.outgoing.temporaries(endpoint.where, folder) if ours else set()  # asked after the look
        for name in ours:
            if name not in alive:
                with contextlib.suppress(Absent):
                    endpoint.remove(folder, name)


def _raise_first(errors: Mapping[int, EndpointError], deliveries: Iterable[Delivery]) -> None:
    for one in deliveries:
        if one.id in errors:
            raise errors[one.id]


def _fresh(parts: Iterable[_Parts]) -> list[Delivery]:
    return [one for _, deliveries in parts for one in deliveries if _is_fresh(one)]


def _is_fresh(delivery: Delivery) -> bool:
    """Whether nothing of it was put aside for certain when the row was read."""
    return delivery.state in (DeliveryState.DUE, DeliveryState.SENDING)


def _is_over(delivery: Delivery) -> bool:
    return delivery.state in (DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED)
