"""Delivered exactly once: the temporary file is the witness (docs/architecture.md, the crash table).

Puts every part of a batch aside under its temporary name, commits `uploaded`, renames in order, makes the renames
durable. After a kill the temporary tells what happened: still there → rename; gone → delivered. Never looks at the
final name to find out whether something was delivered: a receiver takes files away within a second. `uploaded` is
therefore only said of what may be renamed any moment; what is not renamed after all is set back before anything else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Permanent, Taken, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Route
from cegid_daemon.pipeline.addressing import OpenDeliveries, is_fresh, is_over
from cegid_daemon.pipeline.arriving import Arriving
from cegid_daemon.pipeline.aside import Aside
from cegid_daemon.pipeline.direct import DirectUploads
from cegid_daemon.pipeline.leftovers import DeadTemporaries
from cegid_daemon.pipeline.rounds import Parts, Round
from cegid_daemon.pipeline.targets import Targets, is_same_folder, mark_of


class Delivering:
    """Carries the deliveries of rewritten messages to their endpoints."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], beat: Callable[[], None]) -> None:
        self._journal = journal
        self._targets = Targets(endpoints)
        self._aside = Aside(journal, self._targets, beat)
        self._arriving = Arriving(journal, self._targets, self._aside, beat)
        self._open = OpenDeliveries(journal, self._targets, self._aside)
        self._direct = DirectUploads(journal, self._targets, self._aside, beat)
        self.leftovers = DeadTemporaries(journal, self._targets)

    def deliver(self, route: Route, batch: Sequence[Message], now: datetime) -> Round:
        """Delivers the messages in order, as far as possible; commits each step, but not the end of the messages."""
        outcome, found = Round(), Round()
        parts: list[Parts] = []
        for message in batch:
            try:
                parts.append((message, self._open.of(route, message, now)))
            except EndpointError as error:
                found.stopped = (message, error)
                break
        for direct, some in groupby(parts, key=_is_direct):
            if outcome.stopped is None:
                send = self._direct.send if direct else self._send_aside
                outcome.add(send(route, list(some), now))
        outcome.add(found)
        return outcome

    def _send_aside(self, route: Route, parts: Sequence[Parts], now: datetime) -> Round:
        """Those with temporary names: all are put aside, then all are renamed."""
        outcome = Round()
        aside = self._put_all_aside(route, parts, outcome, now)
        if aside and self._commit_uploaded(aside, outcome):
            self._rename_in_order(route, [one for one in aside if _may_go(one[1], outcome)], outcome, now)
            self._make_durable(outcome)
        return outcome

    # -- aside ------------------------------------------------------------------------------------------------------

    def _put_all_aside(self, route: Route, parts: Sequence[Parts], outcome: Round, now: datetime) -> list[Parts]:
        names = self._aside.names(route, _fresh(parts))
        named: dict[int, Delivery] = {}

        def name(deliveries: Sequence[Delivery]) -> None:
            named.update({one.id: self._aside.name(route, one, names) for one in filter(is_fresh, deliveries)})

        able = outcome.try_each(parts, name)
        able = [(message, [named.get(one.id, one) for one in deliveries]) for message, deliveries in able]
        outcomes = self._aside.write(route, _fresh(able), now)
        written = outcome.try_each(able, lambda deliveries: _raise_first(outcomes, deliveries))
        if any(isinstance(error, Taken) for error in outcomes.values()):
            goes_on = {message.id for message, _ in written}
            whole = (one for one in named.values() if one.id in outcomes and outcomes[one.id] is None)
            self._aside.doubt_missing([one for one in whole if one.message not in goes_on], now)
        return written

    def _commit_uploaded(self, aside: Sequence[Parts], outcome: Round) -> bool:
        """Makes the new temporaries durable and says so; False if that cannot be done now."""
        fresh = _fresh(aside)
        marks: dict[int, str] = {}
        try:
            for (endpoint, folder), some in self._targets.by_folder(fresh, aside=True):
                with self._aside.minding_the_folder(endpoint, folder, some[0].name):
                    endpoint.sync(folder)
                    marks |= dict.fromkeys([one.id for one in some], mark_of(endpoint, folder))
        except EndpointError as error:
            outcome.stopped = (aside[0][0], error)
            return False
        may_go = self._journal.outgoing.uploaded(marks)
        outcome.untouched = {one.id: one for one in fresh if one.id in may_go}
        self.leftovers.take_back((one, DeliveryState.CANCELLED) for one in fresh if one.id not in may_go)
        return True

    # -- rename -----------------------------------------------------------------------------------------------------

    def _rename_in_order(self, route: Route, aside: Sequence[Parts], outcome: Round, now: datetime) -> None:
        waiting = self._without_overtaken(self._still_aside(aside, outcome, now), outcome)
        outcomes = self._arriving.rename(route, [one for _, some in waiting for one in some], outcome.untouched, now)
        deliveries = {message.id: some for message, some in aside}
        stopped: list[tuple[Message, CegidDaemonError]] = []
        for message, some in waiting:
            errors = [error for one in some if (error := outcomes.get(one.id)) is not None]
            if errors:
                (outcome.failed if isinstance(errors[0], Permanent) else stopped).append((message, errors[0]))
            elif all(one.id in outcomes for one in some):
                outcome.delivered.append(message)
                outcome.arrived += deliveries[message.id]
        outcome.overtaken += _overtaken(stopped, outcome.delivered)
        stopped = [one for one in stopped if one not in outcome.overtaken]
        outcome.stopped = stopped[0] if stopped else outcome.stopped  # one noted before is of a message further behind
        untouched = set(outcome.untouched)
        if any(isinstance(error, Taken) for error in outcomes.values()):
            untouched -= self._aside.doubt_missing(outcome.untouched.values(), now)
        if untouched:  # were they left `uploaded`, a temporary that goes missing would pass for delivered
            self._journal.outgoing.set_back(untouched)

    def _without_overtaken(self, waiting: Sequence[Parts], outcome: Round) -> list[Parts]:
        """Leaves out what a kill left put aside, though what was behind it had been renamed."""
        last = max((message.seq for message, some in waiting if not some), default=0)
        late = Transient("it was put aside, and not renamed when the daemon was ended")
        outcome.overtaken += [(message, late) for message, some in waiting if some and message.seq < last]
        return [(message, some) for message, some in waiting if not some or message.seq > last]

    def _still_aside(self, aside: Sequence[Parts], outcome: Round, now: datetime) -> list[Parts]:
        """The messages, as far as it can be told of them, with the parts that are to be renamed.

        What an earlier run put aside and is not there any more was renamed before the last stop: it is delivered,
        whether or not the final name still lies there.
        """
        earlier = [one for _, some in aside for one in some if not is_fresh(one)]
        looks = self._arriving.look(earlier)
        gone: set[int] = set()

        def look(deliveries: Sequence[Delivery]) -> None:
            for one in deliveries:
                if not is_fresh(one) and not self._arriving.is_still_aside(one, looks, now):
                    gone.add(one.id)

        known = outcome.try_each(aside, look)
        return [(message, [one for one in some if one.id not in gone]) for message, some in known]

    def _make_durable(self, outcome: Round) -> None:
        """Syncs what was renamed to. A folder that is gone by now was taken away with what was delivered into it."""
        try:
            groups = [*self._targets.by_folder(outcome.arrived), *self._targets.by_folder(outcome.arrived, aside=True)]
            for endpoint, folder in dict.fromkeys(there for there, _ in groups):
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
        return [(one, self._fate(one)) for one in self._journal.outgoing.of_message(message.id) if not is_over(one)]

    def _fate(self, delivery: Delivery) -> DeliveryState:
        if is_fresh(delivery):
            return DeliveryState.CANCELLED
        if delivery.state is DeliveryState.UNSURE or delivery.is_direct:
            return DeliveryState.UNSURE
        try:
            endpoint = self._targets.endpoint(delivery)
            if endpoint.stat(delivery.aside_folder, delivery.aside_name) is not None:
                return DeliveryState.CANCELLED
            arrived = delivery.state is DeliveryState.UPLOADED and is_same_folder(endpoint, delivery)
        except EndpointError:
            return DeliveryState.UNSURE
        return DeliveryState.DELIVERED if arrived else DeliveryState.UNSURE

    def commit_fates(self, fates: Iterable[tuple[Delivery, DeliveryState]], now: datetime) -> None:
        """Notes them. Joins the caller's transaction."""
        for delivery, state in fates:
            self._journal.outgoing.set_state([delivery.id], state, now)

    def take_back(self, fates: Iterable[tuple[Delivery, DeliveryState]], now: datetime) -> None:
        """Removes what was put aside of cancelled deliveries; one that is gone was renamed all the same: it arrived."""
        for one in self.leftovers.take_back(fates):
            self._journal.outgoing.set_state([one.id], self._fate(one), now)

    def withdraw(self, delivery: Delivery, now: datetime) -> None:
        """Takes back a part that was put aside when a person discarded its message; notes what became of it.

        Raises EndpointError if that cannot be told now.
        """
        fate, endpoint = DeliveryState.UNSURE, self._targets.find(delivery)
        if endpoint is not None and not delivery.is_direct:
            with self._aside.minding_the_folder(endpoint, delivery.aside_folder, delivery.name):
                there = endpoint.stat(delivery.aside_folder, delivery.aside_name)
                arrived = there is None and is_same_folder(endpoint, delivery)
            fate = DeliveryState.CANCELLED if there is not None else DeliveryState.DELIVERED if arrived else fate
        self._journal.outgoing.set_state([delivery.id], fate, now)
        self.take_back([(delivery, fate)], now)


def _may_go(deliveries: Iterable[Delivery], outcome: Round) -> bool:
    """Whether nothing of a message was cancelled by a person while it was put aside."""
    return all(one.id in outcome.untouched for one in deliveries if is_fresh(one))


def _raise_first(outcomes: Mapping[int, EndpointError | None], deliveries: Iterable[Delivery]) -> None:
    for one in deliveries:
        if (error := outcomes.get(one.id)) is not None:
            raise error


def _fresh(parts: Iterable[Parts]) -> list[Delivery]:
    return [one for _, deliveries in parts for one in deliveries if is_fresh(one)]


def _overtaken(
    stopped: Sequence[tuple[Message, CegidDaemonError]], delivered: Sequence[Message]
) -> list[tuple[Message, CegidDaemonError]]:
    """Those that would go out after newer ones. An unsure one holds up the others, and a person decides as it is."""
    last = max((message.seq for message in delivered), default=0)
    return [(message, error) for message, error in stopped if message.seq < last and not isinstance(error, Unsure)]


def _is_direct(parts: Parts) -> bool:
    return bool(parts[1]) and all(one.is_direct for one in parts[1])
