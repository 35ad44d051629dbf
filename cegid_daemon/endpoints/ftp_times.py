"""The real times of files on servers that only have LIST, asked for as rarely as is safe.

LIST prints a time to the minute, MDTM tells it to the second at the price of a round trip a file. A time that was asked
for is good as long as LIST prints the same, once it was asked for again two minutes after LIST first printed so: any
later change would be printed as a later minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from cegid_daemon.endpoints.ftp_listing import Entry
from cegid_daemon.model import Identity

_SURE_AFTER = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class _Known:
    size: int
    stamp: bytes
    mtime_ns: int
    since: float  # when LIST was first seen to print this
    sure: bool


class Times:
    """What is known of the files of each folder, from its last listing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folders: dict[str, dict[bytes, _Known]] = {}

    def complete(
        self, folder: str, entries: Iterable[Entry], ask: Callable[[Sequence[bytes]], Sequence[int]],
        wanted: Callable[[Entry], bool] = lambda _entry: True,
    ) -> list[Entry]:  # fmt: skip
        """The entries of a listing with their real times; `ask` gives the times of many names in nanoseconds.

        Times of files that are not wanted are not asked for: those that were once are kept, the others have none.
        """
        before = self._folders.get(folder, {})
        listed = list(entries)
        files = [one for one in listed if one.regular and b"\n" not in one.name and b"\r" not in one.name]
        known = {one.name: before[one.name] for one in files if _is_sure(one, before.get(one.name))}
        open_ = [one for one in files if one.name not in known]
        unsure = [one for one in open_ if wanted(one)]
        known |= {one.name: before[one.name] for one in open_ if not wanted(one) and one.name in before}
        now = self._clock()
        for one, mtime_ns in zip(unsure, ask([one.name for one in unsure]), strict=True):
            known[one.name] = _learned(one, before.get(one.name), mtime_ns, now)
        self._folders[folder] = known
        return [_timed(entry, known.get(entry.name)) for entry in listed]

    def lists_as_file(self, folder: str, name: bytes) -> bool:
        """Whether the last listing of the folder had a regular file of this name."""
        return name in self._folders.get(folder, {})

    def forget(self, folder: str, name: bytes) -> None:
        """A rename put another file under this name, or none."""
        self._folders.get(folder, {}).pop(name, None)


def _prints_the_same(entry: Entry, before: _Known) -> bool:
    return (before.size, before.stamp) == (entry.identity.size, entry.stamp)


def _is_sure(entry: Entry, before: _Known | None) -> bool:
    return before is not None and before.sure and _prints_the_same(entry, before)


def _learned(entry: Entry, before: _Known | None, mtime_ns: int, now: float) -> _Known:
    since = before.since if before is not None and _prints_the_same(entry, before) else now
    return _Known(entry.identity.size, entry.stamp, mtime_ns, since, sure=now - since >= _SURE_AFTER)


def _timed(entry: Entry, known: _Known | None) -> Entry:
    return replace(entry, identity=Identity(known.size, known.mtime_ns)) if known else entry
