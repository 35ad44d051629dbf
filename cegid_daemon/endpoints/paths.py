"""What a folder and a name may be, checked at the door of every adapter.

Owns the one rule that keeps every call below the endpoint's root: a name is one path part, a folder is relative and
has no `.` or `..` in it. Never touches a file. A breach is a bug of the caller (`ValueError`), for names that come from
a listing too: an adapter leaves such entries out of what it lists.
"""

from __future__ import annotations


def is_plain(part: str) -> bool:
    """Whether `part` can stand in a path without leading anywhere else."""
    return part not in {"", ".", ".."} and "/" not in part and "\0" not in part


def checked_name(name: str) -> str:
    """`name` itself; ValueError if it is not exactly one path part."""
    if not is_plain(name):
        raise ValueError(f"not a file name: {name!r}")
    return name


def folder_parts(folder: str) -> tuple[str, ...]:
    """The parts of a folder relative to the endpoint's root; none for the root. ValueError if it could leave it."""
    if folder.startswith("/"):
        raise ValueError(f"not a folder below the endpoint's url: {folder!r}")
    parts = tuple(part for part in folder.split("/") if part)
    for part in parts:
        if not is_plain(part):
            raise ValueError(f"not a folder below the endpoint's url: {folder!r}")
    return parts
