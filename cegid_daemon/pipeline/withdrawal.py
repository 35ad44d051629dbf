"""What a person discards while it is being carried: withdrawn where that is still possible, else told as it is.

A decision is a commit beside the pipeline's own, so it may fall between any two of its steps. Owns both meetings: what
the pipeline finds discarded when it writes down how a batch ended, and what was left put aside or answered by then.
What arrived is delivered, whatever was decided; what was not sent is never sent.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from cegid_daemon.errors import EndpointError
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Route, State, escape_name
from cegid_daemon.pipeline.delivering import Delivering
from cegid_daemon.pipeline.posting import Posting
from cegid_daemon.pipeline.rounds import Round

log = logging.getLogger(__name__)

_ARRIVED = frozenset({DeliveryState.DELIVERED, DeliveryState.REFUSED})


class Withdrawal:
    """Settles what was discarded on its way."""

    def __init__(self, journal: Journal, delivering: Delivering, posting: Posting) -> None:
        self._journal = journal
        self._delivering = delivering
        self._posting = posting

    def sort_out(self, messages: Iterable[Message], sent: Round, now: datetime) -> set[int]:
        """Which messages of a batch were discarded meanwhile: nothing else is to be written down of them.

        Joins the transaction that notes the batch, after what arrived is noted. One that arrived as a whole is none.
        """
        discarded = self._journal.ledger.discarded({message.id for message in messages})
        for message in sorted(discarded):
            self._journal.outgoing.withdraw(message)
            if self._has_arrived(message):
                self._journal.ledger.arrived_after_all(message, now)
                discarded.discard(message)
        sent.delivered = [message for message in sent.delivered if message.id not in discarded]
        return discarded

    def settle(self, routes: Collection[Route], apis: Collection[str], now: datetime) -> list[EndpointError]:
        """Takes back what was on its way when it was discarded; returns the errors of what cannot be told of now."""
        by_name = {name: route for route in routes for name in (route.name, *route.moved_from)}
        return self._settle(self._journal.outgoing.of_discarded(by_name), by_name, apis, now)

    def settle_gone(self, routes: Collection[Route], apis: Collection[str], now: datetime) -> list[EndpointError]:
        """The same for messages of routes that are not among these, and that none of these takes over."""
        kept = {name for route in routes for name in (route.name, *route.moved_from)}
        gone = self._journal.outgoing.discarded_routes() - kept
        return self._settle(self._journal.outgoing.of_discarded(gone), {}, apis, now) if gone else []

    def _settle(
        self, found: Collection[Delivery], by_name: Mapping[str, Route], apis: Collection[str], now: datetime
    ) -> list[EndpointError]:
        errors: list[EndpointError] = []
        for delivery in found:
            message = self._journal.ledger.message(delivery.message)
            assert message is not None
            if delivery.state is not DeliveryState.UPLOADED:
                self._journal.outgoing.withdraw(message.id)  # a kill came before the batch was written down
                continue
            try:
                if delivery.endpoint in apis:
                    self._posting.withdraw(by_name.get(message.route), message, delivery, now)
                else:
                    self._delivering.withdraw(delivery, now)
            except EndpointError as error:
                errors.append(error)
        for message_id in sorted({delivery.message for delivery in found}):
            self._tell(message_id, now)
        return errors

    def _tell(self, message_id: int, now: datetime) -> None:
        with self._journal.connection.transaction():
            arrived = bool(self._journal.ledger.discarded([message_id])) and self._has_arrived(message_id)
            if arrived:
                self._journal.ledger.arrived_after_all(message_id, now)
        message = self._journal.ledger.message(message_id)
        if arrived and message is not None and message.state is State.DELIVERED:
            about = {"route": message.route, "message_id": message.id, "store": message.store}
            log.warning("message %d: %s had arrived before it was discarded", message.id,
                        escape_name(message.file_name), extra=about)  # fmt: skip

    def _has_arrived(self, message: int) -> bool:
        deliveries = self._journal.outgoing.of_message(message)
        return bool(deliveries) and all(one.state in _ARRIVED for one in deliveries)
