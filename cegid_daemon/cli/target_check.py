"""`check --live` on targets: whether uploads can go the way that `temporary` says, and which ways would work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cegid_daemon.endpoints.card import TEMPORARY

if TYPE_CHECKING:
    from cegid_daemon.config import Config


def temporaries_of(config: Config, endpoint: str, folder: str) -> list[str]:
    """The kinds of temporary names that routes have in a folder, each once."""
    targets = [route.target for route in config.routes.values() if route.target is not None]
    return list(dict.fromkeys(one.temporary for one in targets if (one.endpoint, one.folder) == (endpoint, folder)))


def target_faults(config: Config, endpoint: str, tried: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Which routes cannot deliver, why, and what to do; `tried` by folder."""
    faults = []
    for name, route in config.routes.items():
        if route.target is not None and route.target.endpoint == endpoint:
            target = route.target
            said = tried.get(target.folder or ".", {}).get(f"{TEMPORARY} {target.temporary}", "yes")
            if said != "yes":
                faults.append(
                    f"{endpoint}: in {target.folder or '.'}: route {name!r} cannot deliver with temporary = "
                    f'"{target.temporary}": {said}: set `temporary` in [route.{name}.target], or give the user the '
                    "right on the server"
                )
    return faults
