"""`check --live` on listings: lines nobody understands, and names that are listed and then denied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cegid_daemon.endpoints.listing import unread_lines
from cegid_daemon.endpoints.many import stat_many

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.endpoints import Endpoint
    from cegid_daemon.ownership import Identification

_MAX_LOOKED_AT = 64  # listed files of a folder that are asked for by name


def check_listing(endpoint: Endpoint, folder: str, accepts: Callable[[str], bool]) -> tuple[int, list[str]]:
    """How many entries a folder has, and what is wrong with its listing. Raises EndpointError."""
    listing = endpoint.list(folder, accepts)
    faults = [
        f"in {folder or '.'}: a line of the listing is not understood, it may be a file and is not taken: {line!r}"
        for line in unread_lines(listing)
    ]
    names = [one.name for one in listing if one.regular and accepts(one.name)][:_MAX_LOOKED_AT]
    looks = dict(zip(names, stat_many(endpoint, folder, names), strict=True)) if names else {}
    if denied := [name for name, look in looks.items() if look is None]:
        still = {one.name for one in endpoint.list(folder, accepts)}  # it may have been taken meanwhile
        faults += [
            f"in {folder or '.'}: the server lists {name!r} and then says that it is not there"
            for name in denied if name in still
        ]  # fmt: skip
    return len(listing), faults


def accepted_names(config: Config, endpoint: str, folder: str) -> Callable[[str], bool]:
    """Which names the routes take from a folder."""
    from cegid_daemon.masks import Masks

    specs = [route.source for route in config.routes.values() if route.source.endpoint == endpoint]
    masks = [Masks(spec.match, spec.ignore) for spec in specs if spec.folder == folder]
    return lambda name: any(one.takes(name) for one in masks)


def foreign_marks(config: Config, endpoint: str, at: Endpoint, folder: str, me: Identification) -> list[str]:
    """What is to be told of another daemon's mark in a folder of a server that routes take files from."""
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.masks import Masks
    from cegid_daemon.ownership import foreign_mark

    if not at.abilities.remote:
        return []  # `check` looks there without `--live`
    routes = [one for one in config.routes.values() if (one.source.endpoint, one.source.folder) == (endpoint, folder)]
    found = [
        foreign_mark(at, folder, Masks(one.source.match, one.source.ignore), one.name, me, utc_now(), listed=False)
        for one in routes
    ]
    return [str(error) for error in found if error is not None]


def tried_abilities(endpoint: Endpoint, tried: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the endpoint can do as the round trips showed it: one answer, where trying and asking might give two."""
    found = {"renames": endpoint.abilities.renames, "replaces": endpoint.abilities.replaces}
    for trip in tried.values():
        for ability, key in (("renames", "rename"), ("replaces", "replace")):
            found[ability] = found[ability] and trip.get(key, "yes") == "yes"
    return found
