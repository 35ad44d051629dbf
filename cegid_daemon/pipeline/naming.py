"""Names of our own: numbered, shortened, temporary. Pure; lengths are bytes as the file system counts them."""

from __future__ import annotations

import hashlib
import os
import re

from cegid_daemon.temporary import LONGEST, cut


def numbered(name: str, number: int) -> str:
    """`S1.csv` → `S1.2.csv`; number 1 is the name itself. The stem gives way where 255 bytes would be exceeded."""
    return name if number == 1 else with_suffix(*_split(name), number=number)


def error_name(name: str) -> str:
    """The name of the text that explains why a file failed: `S1.csv.error.txt`."""
    return _beside(name, ".error.txt")


def rejects_name(name: str) -> str:
    """The name of the list of what the receiver refused of a file: `S1.csv.rejected.csv`."""
    return _beside(name, ".rejected.csv")


def _beside(name: str, ending: str) -> str:
    """`name` + `ending`; two names that are shortened alike still differ by what stands for the whole of each."""
    raw = os.fsencode(name)
    if len(raw) + len(ending) <= LONGEST:
        return name + ending
    stem, suffix = _split(name)
    tail = f".{hashlib.sha256(raw).hexdigest()[:8]}{suffix}{ending}"
    return cut(stem, LONGEST - len(os.fsencode(tail))) + tail


def parting_name(instance: str, source: int) -> str:
    """The name a source file bears before it is deleted."""
    return f".{instance}-{source}.gone"


def is_parting_name(instance: str, name: str) -> bool:
    """Whether a file under this name is one of ours to be deleted."""
    return re.fullmatch(rf"\.{re.escape(instance)}-\d+\.gone", name, re.ASCII) is not None


def with_suffix(stem: str, suffix: str, *, number: int) -> str:
    """`stem.number` + suffix within 255 bytes."""
    tail = f".{number}{suffix}"
    return cut(stem, LONGEST - len(os.fsencode(tail))) + tail


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and len(os.fsencode(suffix)) <= 32 else (name, "")


def subfolder(folder: str, sub: str) -> str:
    """`sub` below `folder`; a `sub` with a leading slash counts from the endpoint's root."""
    if sub.startswith("/"):
        return sub.strip("/")
    return f"{folder}/{sub}" if folder else sub
