"""Whose a source folder is, judged from what its mark says and from what is known of this machine.

Reads other marks and folders of this machine where that tells a copied mark from a living owner; changes nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cegid_daemon.errors import Permanent, Place
from cegid_daemon.masks import OWNER_MARK, Masks
from cegid_daemon.model import utc_text
from cegid_daemon.ownership.owners import Owner, read_owners

_MACHINE = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Identification:
    """Who we are to others."""

    instance: str  # blank: not known yet
    state: str
    host: str
    machine: str
    is_held: Callable[[str], bool] = lambda _state: False  # whether a process works with this state folder

    @classmethod
    def of(cls, instance: str, state: Path, is_held: Callable[[str], bool]) -> Identification:
        """Of this process, on this machine."""
        try:
            machine = _MACHINE.read_text("ascii", "replace").strip()
        except OSError:
            machine = ""
        return cls(instance, os.path.realpath(state), socket.gethostname(), machine, is_held)

    def owner(self, folder: str, sources: Iterable[Masks], now: datetime) -> Owner:
        """What a mark says of us."""
        return Owner(
            self.instance, self.instance, self.state, self.host, self.machine, folder, tuple(sources), utc_text(now)
        )

    def is_here(self, other: Owner) -> bool:
        """Whether it was written on this machine."""
        return (other.host, other.machine) == (self.host, self.machine)

    def succeeds(self, other: Owner) -> bool:
        """Whether it worked with our state folder before its journal was begun anew: nobody else can, now."""
        return self.is_here(other) and _same_folder(other.state, self.state)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a mark means for sources of ours."""

    owners: tuple[Owner, ...]  # what the mark is to say
    refused: tuple[tuple[Masks, Owner, str], ...]  # sources that may take nothing, because of whom, and why


def judge(owners: Sequence[Owner], sources: Sequence[Masks], me: Identification, folder: str, now: datetime) -> Verdict:
    """Who owns what. `folder`: the folder as we reach it."""
    others = [one for one in owners if one.owner != me.instance and not me.succeeds(one)]
    others = [one for one in others if not _is_of_another_folder(one, me, folder)]
    before = next((one for one in owners if one.owner == me.instance), None)
    if before is not None and _works_elsewhere(before, me, folder):
        why = "another process works with a copy of our state folder"
        return Verdict(tuple(owners), tuple((masks, before, why) for masks in sources))
    refused = [(masks, other, "") for masks in sources for other in others if other.meets(masks)]
    taken = {masks for masks, _, _ in refused}
    free = [masks for masks in dict.fromkeys(sources) if masks not in taken]
    mine = [me.owner(folder, free, now)] if free else []
    return Verdict((*others, *mine), tuple(refused))


def _is_of_another_folder(other: Owner, me: Identification, folder: str) -> bool:
    """Whether a mark was only copied: the folder that it was made in is another one of this machine, and bears it."""
    if not me.is_here(other) or not is_path(other.folder) or not is_path(folder):
        return False
    if not Path(other.folder).is_dir() or _same_folder(other.folder, folder):
        return False
    try:
        there = read_owners(Path(other.folder, OWNER_MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return any(one.owner == other.owner for one in there)


def _works_elsewhere(before: Owner, me: Identification, folder: str) -> bool:
    """Whether a copy of our state folder, with our own name, is at work on this folder now."""
    if not me.is_here(before) or _same_folder(before.state, me.state) or not me.is_held(before.state):
        return False
    return not is_path(folder) or _same_folder(before.folder, folder)


def is_path(text: str) -> bool:
    return text.startswith("/")


def _same_folder(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def refusal_of(folder: str, other: Owner, route: str, why: str = "") -> Permanent:
    """What a person is told of a folder that is another daemon's."""
    return Permanent(
        "the folder belongs to another cegid-daemon, and nothing is taken from it",
        where=Place(route=route, file=folder),
        why=f"{f'{why}: ' if why else ''}its mark {OWNER_MARK} names {other}",
        remedy="Stop that one or this, or give both masks that cannot overlap. If that one is no more: "
        f"cegid-daemon claim-folder {route}",
    )
