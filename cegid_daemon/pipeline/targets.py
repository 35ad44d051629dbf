"""Where deliveries go: their endpoints, and which of them may go there together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from cegid_daemon.endpoints import API_SCHEMES
from cegid_daemon.endpoints.protocol import Endpoint, Marking
from cegid_daemon.errors import Transient
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import DELIVERY_NAMES, Route

Group = tuple[tuple[Endpoint, str], list[Delivery]]  # an endpoint, a folder of it, and the deliveries there


class Targets:
    """The endpoints of deliveries."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    def named(self, name: str) -> Endpoint | None:
        """The endpoint that is configured under a name."""
        return self._endpoints.get(name)

    def at(self, place: str) -> Endpoint | None:
        """The endpoint at a place, whatever its name is now."""
        return next((one for one in self._endpoints.values() if one.where == place), None)

    def find(self, delivery: Delivery) -> Endpoint | None:
        """Where it goes; None if that place is no longer configured under any name."""
        named = self._endpoints.get(delivery.endpoint)
        return named if named is not None and named.where == delivery.place else self.at(delivery.place)

    def endpoint(self, delivery: Delivery) -> Endpoint:
        """Where it goes. Transient if that is no longer configured."""
        endpoint = self.find(delivery)
        if endpoint is None:
            raise Transient(
                f"{delivery.place} is no longer configured (endpoint {delivery.endpoint})",
                why=f"{delivery.name!r} is on its way to it",
                remedy="Configure the endpoint again and reload; or `discard` the message and `replay` it, which makes "
                "it anew for the target of now.",
            )
        return endpoint

    def of_route(self, route: Route) -> tuple[Endpoint, str] | None:
        """The endpoint and folder a route delivers into; None if it delivers no files."""
        if route.target is None or route.target.endpoint not in self._endpoints:
            return None
        return self._endpoints[route.target.endpoint], route.target.folder

    def by_folder(self, deliveries: Iterable[Delivery], *, aside: bool = False) -> list[Group]:
        """The deliveries of each folder, in order; those to what is not configured are left out.

        `aside`: by the folder of their temporary names.
        """
        groups: dict[tuple[str, str], Group] = {}
        for one in deliveries:
            endpoint = self.find(one)
            if endpoint is not None:
                folder = one.aside_folder if aside else one.folder
                groups.setdefault((one.place, folder), ((endpoint, folder), []))[1].append(one)
        return list(groups.values())


def takes_requests(place: str) -> bool:
    """Whether a place is an API: what was made for it is no file, and the other way round."""
    return place.partition(":")[0] in API_SCHEMES


def mark_of(endpoint: Endpoint, folder: str) -> str:
    """What tells the folder from another one under its path; blank where nothing does."""
    return endpoint.mark(folder) if isinstance(endpoint, Marking) else ""


def is_same_folder(endpoint: Endpoint, delivery: Delivery) -> bool:
    """Whether the folder it was put aside in is still the same one, as far as anybody can tell."""
    return not delivery.folder_mark or mark_of(endpoint, delivery.aside_folder) == delivery.folder_mark


def policy(route: Route) -> str:
    """What is to be done where the final name is taken."""
    return route.target.exists if route.target is not None else "replace"


def delivery_name(route: Route, place: str) -> str:
    """How the log names the way out: `SFTP Delivery: Order Export`."""
    return f"{DELIVERY_NAMES[place.partition(':')[0]]}: {route.title}"


def runs(
    targets: Targets, deliveries: Sequence[Delivery], most: int, alone: Collection[int] = (), *, most_bytes: int = 0
) -> Iterator[list[Delivery]]:
    """Neighbours that may go together: in the same folders, no two under one name, of `most_bytes` in all (0: any).

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
    return _address(one) == _address(run[0]) and all(one.name != other.name for other in run)


def _address(one: Delivery) -> tuple[str, str, str]:
    return one.place, one.folder, one.aside_folder
