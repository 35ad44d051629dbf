"""Where deliveries go: their endpoints, and which of them may go there together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from cegid_daemon.endpoints.protocol import Endpoint, Marking
from cegid_daemon.errors import Transient
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import Route


class Targets:
    """The endpoints of deliveries."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    def endpoint(self, delivery: Delivery) -> Endpoint:
        """Where it goes. Transient if that is no longer configured."""
        endpoint = self._endpoints.get(delivery.endpoint)
        if endpoint is None:
            raise Transient(
                f"the endpoint {delivery.endpoint} is no longer configured",
                why=f"{delivery.name!r} is on its way to it",
                remedy="Configure the endpoint again and reload, or `discard` the message.",
            )
        return endpoint

    def of_route(self, route: Route) -> tuple[Endpoint, str] | None:
        """The endpoint and folder a route delivers into; None if it delivers no files."""
        if route.target is None or route.target.endpoint not in self._endpoints:
            return None
        return self._endpoints[route.target.endpoint], route.target.folder

    def by_folder(self, deliveries: Iterable[Delivery]) -> list[tuple[tuple[Endpoint, str], list[Delivery]]]:
        """The deliveries of each folder, in order; those to what is not configured are left out."""
        groups: dict[tuple[str, str], list[Delivery]] = {}
        for one in deliveries:
            if one.endpoint in self._endpoints:
                groups.setdefault((one.endpoint, one.folder), []).append(one)
        return [((self._endpoints[name], folder), some) for (name, folder), some in groups.items()]


def mark_of(endpoint: Endpoint, folder: str) -> str:
    """What tells the folder from another one under its path; blank where nothing does."""
    return endpoint.mark(folder) if isinstance(endpoint, Marking) else ""


def is_same_folder(endpoint: Endpoint, delivery: Delivery) -> bool:
    """Whether its folder is still the one it was put aside in, as far as anybody can tell."""
    return not delivery.folder_mark or mark_of(endpoint, delivery.folder) == delivery.folder_mark


def policy(route: Route) -> str:
    """What is to be done where the final name is taken."""
    return route.target.exists if route.target is not None else "replace"


def runs(
    targets: Targets, deliveries: Sequence[Delivery], most: int, alone: Collection[int] = (), *, most_bytes: int = 0
) -> Iterator[list[Delivery]]:
    """Neighbours that may go together: in one folder, no two under one name, of `most_bytes` in all (0: no bound).

    `alone`: deliveries that go by themselves, as all do where the endpoint has no "together".
    """
    run: list[Delivery] = []
    for one in deliveries:
        together = targets.endpoint(one).abilities.together
        lonely = not together or one.id in alone or (bool(run) and run[-1].id in alone)
        too_many = len(run) == most or 0 < most_bytes < sum(other.size for other in run) + one.size
        if run and (lonely or too_many or not _is_neighbour(one, run)):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _is_neighbour(one: Delivery, run: Sequence[Delivery]) -> bool:
    there = (run[0].endpoint, run[0].folder)
    return (one.endpoint, one.folder) == there and all(one.name != other.name for other in run)
