"""Temporary files that no delivery needs any more, removed from where they were put aside.

Such are left by a kill between commit and removal, by a message discarded while a part was put aside, and by a pattern,
folder or endpoint that was changed. Recognizes names of every pattern a route ever had; removes only those that the
journal calls dead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, EndpointError
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import DeliveryState, Route
from cegid_daemon.pipeline.naming import subfolder
from cegid_daemon.pipeline.targets import Targets
from cegid_daemon.temporary import DEFAULT, DIRECT, TemporaryPattern

_Used = tuple[str, str, str]  # place, folder and pattern of temporary names


class DeadTemporaries:
    """Temporary files that no delivery needs any more."""

    def __init__(self, journal: Journal, targets: Targets) -> None:
        self._journal = journal
        self._targets = targets
        self._instance = journal.ledger.instance()

    def take_back(self, fates: Iterable[tuple[Delivery, DeliveryState]]) -> list[Delivery]:
        """Removes what was put aside of cancelled deliveries: after the commit, or a kill would call them delivered.

        Returns those that are gone although they had been put aside.
        """
        gone: list[Delivery] = []
        for delivery, state in fates:
            if state is DeliveryState.CANCELLED and not delivery.is_direct:
                try:
                    self._targets.endpoint(delivery).remove(delivery.aside_folder, delivery.aside_name)
                except Absent:
                    gone += [delivery] if delivery.state is DeliveryState.UPLOADED else []
                except EndpointError:
                    continue  # `clear` finds it later
        return gone

    def clear(self, route: Route) -> None:
        """Removes dead temporaries of ours wherever the route put any. Raises EndpointError."""
        if (target := self._targets.of_route(route)) is None or route.target is None:
            return
        endpoint, folder = target
        current = (endpoint.where, folder, route.target.temporary)
        before = self._journal.places.patterns(route.name)
        for used in dict.fromkeys([current, (endpoint.where, folder, DEFAULT), *before]):
            there = self._targets.at(used[0])
            if there is not None and used[2] != DIRECT:
                is_empty = self._clear(there, used)
                if is_empty and used != current and used in before:
                    self._journal.places.drop_pattern(route.name, *used)

    def _clear(self, endpoint: Endpoint, used: _Used) -> bool:
        """Removes the dead names of one pattern; whether no name of it can come back to life."""
        place, folder, text = used
        pattern = TemporaryPattern(text)
        where = subfolder(folder, pattern.folder) if pattern.folder else folder
        ours: Mapping[str, tuple[int, int]] = {}
        with contextlib.suppress(Absent):
            found = ((one.name, pattern.upload_in(self._instance, one.name)) for one in endpoint.list(where, _no_name))
            ours = {name: upload for name, upload in found if upload is not None}
        alive = self._journal.outgoing.temporaries(place, where)  # asked after the look
        for name, upload in ours.items():
            if name not in alive and self._journal.outgoing.has_part(*upload):
                with contextlib.suppress(Absent):
                    endpoint.remove(where, name)
        return not any(pattern.upload_in(self._instance, name) for name in alive)


def _no_name(_name: str) -> bool:
    """No file's time is of interest."""
    return False
