"""Where routes cross: sources that could take the same file, and routes that would feed themselves or each other.

Owns the question whether two routes' folders and names meet, decided from the configuration alone. Places are
compared as addresses: two endpoints with different names can be the same folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from cegid_daemon.config.faults import Trouble
from cegid_daemon.masks import Masks, meet
from cegid_daemon.model import SourceSpec
from cegid_daemon.temporary import DIRECT

_ASKED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_APART = re.compile(r"\b(route|store|message)\b")
_WILD = re.compile(r"([*?\[])")


@dataclass(frozen=True, slots=True)
class Crossing:
    """What of a route matters here. Addresses are endpoint url and folder, joined by `/`."""

    route: str
    source: SourceSpec
    source_at: str
    target_at: str = ""  # blank: no target
    target_name: str = ""
    temporary: str = DIRECT  # the pattern of its temporary names
    replaces: bool = False  # what lies under the name

    @property
    def archive_at(self) -> str:
        """Where done files go; below it lie folders by date unless the route names one."""
        return f"{self.source_at}/{self.source.archive or 'processed'}"


def address(url: str, folder: str) -> str:
    """A folder's address: the endpoint's absolute url and the folder below it."""
    return f"{url.rstrip('/')}/{folder}".rstrip("/")


def troubles_between(routes: list[Crossing]) -> Iterator[Trouble]:
    """Overlapping sources, and loops."""
    for one, other in combinations(routes, 2):
        yield from _overlap(one, other)
    for taker in routes:
        for giver in routes:
            yield from _loops(taker, giver)


def warnings_between(routes: list[Crossing]) -> Iterator[str]:
    """Routes that make two files of one and give both the same name: only the later one stays."""
    for one, other in combinations(routes, 2):
        if _same_file(one, other):
            yield (
                f"routes {one.route!r} and {other.route!r} share a source and deliver under the same name, so that one "
                "replaces what the other delivered: put `route` or `store` into target.name, or deliver to another "
                "folder"
            )


def _same_file(one: Crossing, other: Crossing) -> bool:
    """Whether both make the same name in the same folder of each file of the same source."""
    told_apart = any(map(_APART.search, _ASKED.findall(one.target_name)))
    alike = (one.source_at, one.target_at, one.target_name) == (other.source_at, other.target_at, other.target_name)
    replaced = bool(one.target_at) and one.replaces and other.replaces
    return alike and replaced and not told_apart and _shared(one.source, other.source)


def _overlap(one: Crossing, other: Crossing) -> Iterator[Trouble]:
    if one.source_at != other.source_at or _shared(one.source, other.source) or not _meet(one.source, other.source):
        return
    yield Trouble(
        ("route", other.route, "source"),
        f"routes {one.route!r} and {other.route!r} can both take the same file of the same folder",
        why="their masks overlap and their sources differ",
        remedy="Make the masks exclusive (match, ignore), or the two sources equal: then each file is taken once "
        "and goes through both routes.",
    )


def _shared(one: SourceSpec, other: SourceSpec) -> bool:
    """Equal sources are shared; `unique` is each route's own."""
    return replace(one, unique="") == replace(other, unique="")


def _meet(one: SourceSpec, other: SourceSpec) -> bool:
    return meet(Masks(one.match, one.ignore), Masks(other.match, other.ignore))


def _loops(taker: Crossing, giver: Crossing) -> Iterator[Trouble]:
    key = ("route", taker.route, "source", "folder")
    if _within(taker.source_at, giver.archive_at) or _within(taker.source_at, f"{giver.source_at}/failed"):
        yield Trouble(
            key,
            f"route {taker.route!r} would take the files that route {giver.route!r} files away",
            remedy="Take them from another folder.",
        )
    if (mask := _temporaries_in(giver, taker.source_at)) and _meet(taker.source, SourceSpec("", match=(mask,))):
        yield Trouble(
            key,
            f"route {taker.route!r} would take the temporary files of route {giver.route!r}",
            why=f"{giver.temporary!r} gives names that {'; '.join(taker.source.match)!r} takes",
            remedy="Deliver to another folder, set another `temporary`, or make match and ignore leave those names.",
        )
    elif giver.target_at == taker.source_at and _meet(taker.source, SourceSpec("", match=(_mask(giver.target_name),))):
        yield Trouble(
            key,
            f"route {taker.route!r} would take what route {giver.route!r} delivers",
            why=f"{giver.target_name!r} can give a name that {'; '.join(taker.source.match)!r} takes",
            remedy="Deliver to another folder, or make match and ignore leave those names.",
        )


def _temporaries_in(giver: Crossing, folder: str) -> str:
    """The mask of its temporary names, if they are in that folder; blank if not."""
    where, _, name = giver.temporary.rpartition("/")
    if giver.temporary == DIRECT or not giver.target_at or address(giver.target_at, where) != folder:
        return ""
    return "*".join(_WILD.sub(r"[\1]", part) for part in re.split(r"\{id\}|\{name\}", name))


def _within(folder: str, around: str) -> bool:
    return folder == around or folder.startswith(f"{around}/")


def _mask(template: str) -> str:
    """Every name a name template can give, as a mask."""
    parts = [_WILD.sub(r"[\1]", part) for part in _ASKED.split(template)]
    return "*".join(parts)
