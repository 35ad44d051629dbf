"""What the configuration contract names and this version does not do yet.

The one list: whoever builds the work behind a key removes its line here (and, where it has none, adds the key to
`schema.py`). A key that is accepted does what it says; until then it is refused, and says so.
"""

from __future__ import annotations

from typing import Any

from cegid_daemon.config.faults import Trouble, dotted
from cegid_daemon.config.lines import KeyPath

KEYS = (
    "defaults.expect",
    "defaults.hold",
    "route.*.expect",
    "route.*.hold",
)  # "*" stands for any one name; a key set to "" asks for nothing and is let through


def separate(document: dict[str, Any]) -> tuple[dict[str, Any], list[Trouble]]:
    """The document without the keys of this list, and one trouble for each that stood in it."""
    troubles: list[Trouble] = []
    return _without(document, (), troubles), troubles


def is_later(path: KeyPath) -> bool:
    """Whether a key, or a table around it, is on the list."""
    return any(_matches(path[:length]) for length in range(1, len(path) + 1))


def _without(table: dict[str, Any], above: KeyPath, troubles: list[Trouble]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in table.items():
        path = (*above, key)
        if value != "" and _matches(path):
            troubles.append(Trouble(path, f"{dotted(path)} is not yet supported by this version", remedy="Remove it."))
        else:
            kept[key] = _without(value, path, troubles) if isinstance(value, dict) else value
    return kept


def _matches(path: KeyPath) -> bool:
    return any(
        len(path) == len(parts) and all(part in ("*", key) for part, key in zip(parts, path, strict=True))
        for parts in (pattern.split(".") for pattern in KEYS)
    )
