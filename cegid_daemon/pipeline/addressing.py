"""The open deliveries of a message, each with where it goes now.

Owns the rule for a target that was changed while messages wait: what was not uploaded yet goes where the configuration
says now; what was uploaded under its temporary name is finished at the old place. Looks at uploads whose answer was
lost before they are sent again. Writes and renames no file.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Place, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Route, TargetSpec
from cegid_daemon.pipeline.aside import Aside
from cegid_daemon.pipeline.targets import Targets, delivery_name, takes_requests
from cegid_daemon.temporary import DIRECT, TemporaryPattern, upload_id

log = logging.getLogger(__name__)

LOOK_AND_DECIDE = "Look whether the receiver got the file, then `release` (send it again) or `discard` the message."


class OpenDeliveries:
    """Reads what is open of a message, and gives each part its address of today."""

    def __init__(self, journal: Journal, targets: Targets, aside: Aside) -> None:
        self._journal = journal
        self._targets = targets
        self._aside = aside
        self._instance = journal.ledger.instance()

    def of(self, route: Route, message: Message, now: datetime) -> list[Delivery]:
        """The open deliveries in order. Raises Unsure where it is unknown whether one arrived."""
        found = [one for one in self._journal.outgoing.of_message(message.id) if not is_over(one)]
        known = [self._known(one, now) for one in found]
        begun = any(not is_fresh(one) for one in known)  # a message keeps the kind of names its first part got
        return [self._addressed(route, one, keep=begun) if is_fresh(one) else one for one in known]

    def _known(self, one: Delivery, now: datetime) -> Delivery:
        """An upload that was begun, and of which nobody knows how it ended, once that is found out."""
        if one.is_direct and one.state in (DeliveryState.SENDING, DeliveryState.UNSURE):
            why = "it was on its way straight under its final name when the daemon was ended, or its answer lost"
            self._doubt(one, now, why)
        if one.state is not DeliveryState.SENDING:
            return one
        endpoint = self._targets.find(one)
        if endpoint is None:
            self._doubt(one, now, f"its upload was not confirmed, and {one.place} is no longer configured")
        elif not self._is_there(endpoint, one) and not self._journal.outgoing.has_renamed(one.place, one.folder):
            why = f"the answer to its upload was lost, {one.temporary} is not there, and this server has not shown "
            self._doubt(one, now, f"{why}yet that it leaves temporary files alone")
        return replace(one, state=DeliveryState.DUE)

    def _is_there(self, endpoint: Endpoint, one: Delivery) -> bool:
        with self._aside.minding_the_folder(endpoint, one.aside_folder, one.name):
            return endpoint.stat(one.aside_folder, one.aside_name) is not None

    def _doubt(self, one: Delivery, now: datetime, why: str) -> None:
        self._journal.outgoing.set_state([one.id], DeliveryState.UNSURE, now)
        raise Unsure(
            f"it is unknown whether {one.name!r} arrived", where=Place(file=f"{one.place}/{one.folder}"),
            why=why, remedy=LOOK_AND_DECIDE,
        )  # fmt: skip

    # -- where it goes now ------------------------------------------------------------------------------------------

    def _addressed(self, route: Route, one: Delivery, *, keep: bool) -> Delivery:
        """With the address that the configuration has now; stored where that is another one."""
        target = route.target
        endpoint = self._targets.named(target.endpoint) if target is not None else None
        if target is None or endpoint is None or takes_requests(one.place):
            return one
        at = replace(one, endpoint=target.endpoint, place=endpoint.where, folder=target.folder)
        same_place = (at.place, at.folder) == (one.place, one.folder)
        now = replace(at, temporary=self._temporary(target, at, keep=keep, same_place=same_place))
        if now != one:
            renamed = (now.endpoint, now.place) != (one.endpoint, one.place)
            self._journal.outgoing.redirect(now, delivery_name(route, now.place) if renamed else None)
            if not same_place:
                log.info(
                    "message %d: %s goes to %s/%s, as configured now, instead of %s/%s",
                    one.message, one.name, now.place, now.folder, one.place, one.folder,
                )  # fmt: skip
        return now

    def _temporary(self, target: TargetSpec, one: Delivery, *, keep: bool, same_place: bool) -> str:
        pattern = TemporaryPattern(target.temporary)
        if keep and not one.is_direct:
            return one.temporary
        if pattern.text == DIRECT:
            return one.temporary if one.is_direct and same_place else ""
        folder, _, name = one.temporary.rpartition("/")
        if folder == pattern.folder and pattern.upload_in(self._instance, name) == (one.message, one.no):
            return one.temporary
        return pattern.path(upload_id(self._instance, one.message, one.no), one.name)


def is_fresh(delivery: Delivery) -> bool:
    """Whether nothing of it was put aside for certain when the row was read."""
    return delivery.state is DeliveryState.DUE


def is_over(delivery: Delivery) -> bool:
    """Whether nothing more is to be done for it."""
    return delivery.state in (DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED)
