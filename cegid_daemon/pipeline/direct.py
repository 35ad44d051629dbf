"""Parts uploaded straight under their final names (`temporary = "none"`), for receivers that see only whole uploads.

No temporary file witnesses here what happened. Each part is committed as `sending` before its first byte and as
`delivered` right after the receiver's answer; one in between at a start, or whose answer is lost, is `unsure`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import EndpointError, Interrupted, Permanent, Place, Taken, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import DeliveryState, Route
from cegid_daemon.pipeline.addressing import LOOK_AND_DECIDE
from cegid_daemon.pipeline.aside import Aside, Names
from cegid_daemon.pipeline.rounds import Parts, Round
from cegid_daemon.pipeline.targets import Targets, policy


class DirectUploads:
    """Uploads parts one after the other: the next is begun when the receiver has confirmed the one before."""

    def __init__(self, journal: Journal, targets: Targets, aside: Aside, beat: Callable[[], None]) -> None:
        self._journal = journal
        self._targets = targets
        self._aside = aside
        self._beat = beat

    def send(self, route: Route, parts: Sequence[Parts], now: datetime) -> Round:
        """Sends the messages in order, up to the first that must wait."""
        outcome = Round()

        def send(deliveries: Sequence[Delivery]) -> None:
            for one in deliveries:
                self._send(route, one, now)

        for message, deliveries in outcome.try_each(parts, send):
            outcome.delivered.append(message)
            outcome.arrived += deliveries
        return outcome

    def _send(self, route: Route, one: Delivery, now: datetime) -> None:
        self._beat()
        endpoint = self._targets.endpoint(one)
        name = self._name(route, endpoint, one)
        if not self._journal.outgoing.begin_direct(one.id, name, endpoint.where):
            raise Permanent(f"message {one.message} was discarded before it was sent")  # see `Withdrawal.sort_out`
        try:
            with self._aside.minding_the_folder(endpoint, one.folder, name):
                endpoint.put(one.folder, name, self._aside.read(one))
        except Taken:
            pass  # the receiver has confirmed it, and is quicker than our look at its size
        except (Unsure, Interrupted) as error:
            self._doubt(endpoint, one, name, error, now)
        except EndpointError:
            self._journal.outgoing.set_state([one.id], DeliveryState.DUE, now)
            raise
        try:
            endpoint.sync(one.folder)
        except EndpointError as error:
            self._doubt(endpoint, one, name, error, now)
        self._journal.outgoing.set_state([one.id], DeliveryState.DELIVERED, now)

    def _name(self, route: Route, endpoint: Endpoint, one: Delivery) -> str:
        """The final name: chosen once, so that what a refused upload left there is not taken for somebody else's."""
        if one.temporary == one.name:
            return one.name
        with self._aside.minding_the_folder(endpoint, one.folder, one.name):
            return self._aside.final_name(endpoint, policy(route), one, Names())

    def _doubt(self, endpoint: Endpoint, one: Delivery, name: str, error: EndpointError, now: datetime) -> None:
        self._journal.outgoing.set_state([one.id], DeliveryState.UNSURE, now)
        raise Unsure(
            f"it is unknown whether {name!r} arrived", where=Place(file=f"{endpoint.where}/{one.folder}"),
            why=f"{error.what}: {error.why or 'no answer came'}", remedy=LOOK_AND_DECIDE,
        ) from error  # fmt: skip
