"""What an owner's mark says: which daemons take files from a folder, and which names each of them takes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cegid_daemon.masks import Masks, meet

_ABOUT = (
    "Whose source folder this is: the daemons named here take files from it, and no other does. "
    "See `cegid-daemon claim-folder --help` before you change or remove it."
)


@dataclass(frozen=True, slots=True)
class Owner:
    """One daemon, or the nodes of one cluster, that take files from a folder."""

    owner: str  # who it is: the instance; what shares it is one owner
    instance: str = ""
    state: str = ""  # its state folder
    host: str = ""
    machine: str = ""  # what tells machines with one host name apart, where there is such a thing
    folder: str = ""  # as it reaches it
    sources: tuple[Masks, ...] = ()
    since: str = ""

    def __str__(self) -> str:
        masks = "; ".join(dict.fromkeys(mask for source in self.sources for mask in source.match)) or "nothing"
        return (
            f"instance {self.instance or self.owner} with the state folder {self.state or '(unknown)'} on host "
            f"{self.host or '(unknown)'}, which takes {masks}{f' since {self.since}' if self.since else ''}"
        )

    def meets(self, masks: Masks) -> bool:
        """Whether it and a source of ours can take one same file."""
        return any(meet(masks, source) for source in self.sources)

    def is_like(self, other: Owner) -> bool:
        """Whether both say the same, whenever they were written."""
        return replace(self, since="") == replace(other, since="")


def read_owners(body: bytes) -> list[Owner]:
    """Raises ValueError where it is no mark of ours."""
    told = json.loads(body.decode("utf-8"))
    if not isinstance(told, dict) or not isinstance(told.get("owners"), list):
        raise ValueError("it names no owners")  # noqa: TRY004  # what it says is wrong
    return [_owner(one) for one in told["owners"]]


def _owner(told: Any) -> Owner:
    if not isinstance(told, dict) or not isinstance(told.get("owner"), str) or not told["owner"]:
        raise ValueError("one of its owners has no name")
    texts = {
        name: str(told.get(name, "")) for name in ("owner", "instance", "state", "host", "machine", "folder", "since")
    }
    sources = tuple(Masks(_texts(one, "match"), _texts(one, "ignore")) for one in told.get("sources", ()))
    return Owner(**texts, sources=sources)


def _texts(told: Any, name: str) -> tuple[str, ...]:
    if not isinstance(told, dict) or not isinstance(told.get(name, []), list):
        raise ValueError(f"its {name} is no list of masks")  # noqa: TRY004
    return tuple(map(str, told.get(name, [])))


def write_owners(owners: Iterable[Owner]) -> bytes:
    """The text of a mark; for people too."""
    told = [
        {
            "owner": one.owner, "instance": one.instance, "state": one.state, "host": one.host, "machine": one.machine,
            "folder": one.folder, "since": one.since,
            "sources": [{"match": list(source.match), "ignore": list(source.ignore)} for source in one.sources],
        }
        for one in owners
    ]  # fmt: skip
    return (json.dumps({"about": _ABOUT, "owners": told}, ensure_ascii=True, indent=1) + "\n").encode()


def same_owners(one: Sequence[Owner], other: Sequence[Owner]) -> bool:
    """Whether two marks say the same."""
    return len(one) == len(other) and all(left.is_like(right) for left, right in zip(one, other, strict=True))
