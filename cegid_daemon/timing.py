"""When a listed file counts as whole, and in which order whole files are taken.

Owns the rules of `settle`, `marker`, `match`, `ignore` and `order`, and remembers of each source which file was first
seen when. Pure: a listing and `now` go in, a decision comes out; reads no clock and touches no file. Says nothing about
whether a file was taken before: that is the journal's knowledge.

A file is whole when its marker lies beside it; without a marker, when its identity has stayed the same for the quiet
time over at least two looks, when somebody vouches for it, or when a local file was last touched longer ago than any
doubt about clocks. A file without bytes has a quiet time of its own: it may be about to be filled. One that is known to
be open for writing is not whole, however quiet it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cegid_daemon.masks import Masks
from cegid_daemon.model import Identity, Listed, SourceSpec, WaitReason

LONG_AGO = timedelta(minutes=1)  # a share's clock may differ from ours, but hardly by more


@dataclass(frozen=True, slots=True)
class Ready:
    """A file that counts as whole; `marker` is to be removed with it."""

    file: Listed
    marker: Listed | None = None


@dataclass(frozen=True, slots=True)
class NotWhole:
    """A file that is quiet and does not count as whole all the same."""

    file: Listed
    reason: WaitReason
    since: datetime  # unchanged since then, as far as is known


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a source found."""

    ready: tuple[Ready, ...] = ()  # in the order to take them
    settling: int = 0  # files seen that are not quiet yet
    waiting: tuple[NotWhole, ...] = ()
    look_again: datetime | None = None  # when the first of them can be whole; None: only an event or a sweep can tell
    odd: tuple[Listed, ...] = ()  # symlinks, pipes, folders …: each told once


@dataclass(frozen=True, slots=True)
class _Seen:
    identity: Identity
    since: datetime
    recalled: bool = False  # by an earlier process: since when is known, whatever its times say


class Settling:
    """What is remembered of one source between looks."""

    def __init__(self, source: SourceSpec, *, remote: bool, told: set[str] | None = None) -> None:
        """`told`: the entries that are no files and were told before, kept up to date; one process has one of them."""
        self._source = source
        self._remote = remote
        self._masks = Masks(source.match, source.ignore)
        self._own = {"failed", (source.archive or "processed").split("/")[0]}
        self._seen: dict[str, _Seen] = {}
        self._recalled: dict[str, _Seen] = {}  # by an earlier process
        self._closed: dict[str, Identity] = {}  # files that were quiet and not open, and may have to wait all the same
        self._vouched: dict[str, Identity] = {}  # files somebody knows to be whole
        self._vouched_before: set[str] = set()  # the names among them that the last look knew
        self._told: set[str] = set() if told is None else told
        self._jumped_at = datetime.fromtimestamp(0, UTC)

    def restart(self, now: datetime) -> None:
        """The clock jumped to `now`: nobody can tell how long a file was quiet before, so it counts from here."""
        self._jumped_at = now

    def look(
        self, listing: Iterable[Listed], now: datetime, *, is_open: Callable[[str], bool] = lambda _: False
    ) -> Look:
        """Decides on every entry of the source folder as it is listed at `now`.

        `is_open` says of a name whether the file is known to be open for writing; only quiet files are asked about.
        """
        by_name = {entry.name: entry for entry in listing}
        self._forget_vouched(by_name)
        taken = [entry for entry in by_name.values() if self._wanted(entry.name)]
        files = [entry for entry in taken if entry.regular]
        odd = self._new_odd([entry for entry in taken if not entry.regular])
        if self._source.marker:
            ready = sorted(self._marked(files, by_name), key=self._place_in_order)
            return Look(tuple(ready), len(files) - len(ready), odd=odd)
        return self._settled(files, odd, now, is_open if self._source.settle_open else lambda _: False)

    def position(self, file: Listed) -> tuple[int, str]:
        """Where a file stands in the order of its source: files are taken by this, smallest first."""
        return (file.identity.mtime_ns if self._source.order == "oldest" else 0, file.name)

    def recall(self, files: Mapping[str, tuple[Identity, datetime]]) -> None:
        """What an earlier process knew: as which file each name was seen, and since when."""
        self._recalled = {name: _Seen(identity, since) for name, (identity, since) in files.items()}

    def vouch(self, name: str, identity: Identity) -> None:
        """Somebody knows that the file is whole as it is: it need not be quiet. May be called from any thread."""
        self._vouched[name] = identity

    def _forget_vouched(self, listed: Collection[str]) -> None:
        """A file that has gone is vouched for no more; one that was vouched for after the listing still is."""
        for name in self._vouched_before.difference(listed):
            self._vouched.pop(name, None)
        self._vouched_before = set(self._vouched.copy())

    def _wanted(self, name: str) -> bool:
        marker = self._source.marker
        return self._masks.takes(name) and not (marker and name.endswith(marker))

    def _new_odd(self, odd: list[Listed]) -> tuple[Listed, ...]:
        fresh = tuple(entry for entry in odd if entry.name not in self._told and entry.name not in self._own)
        self._told.clear()
        self._told.update(entry.name for entry in odd)
        return fresh

    def _marked(self, files: list[Listed], by_name: dict[str, Listed]) -> list[Ready]:
        pairs = ((file, by_name.get(file.name + self._source.marker)) for file in files)
        return [Ready(file, marker) for file, marker in pairs if marker is not None and marker.regular]

    def _settled(
        self, files: list[Listed], odd: tuple[Listed, ...], now: datetime, is_open: Callable[[str], bool]
    ) -> Look:
        self._seen = {file.name: self._first_seen(file, now) for file in files}
        self._recalled = {}
        self._closed = {name: identity for name, identity in self._closed.items() if name in self._seen}
        ready: list[Ready] = []
        waiting: list[NotWhole] = []
        due: list[datetime] = []  # when each of the others can be whole
        for file in files:
            since = self._since(file)
            if self._is_vouched(file):
                ready.append(Ready(file))
            elif not self._is_quiet(file, self._source.settle, now):
                due.append(since + self._source.settle)
            elif not file.identity.size and not self._is_quiet(file, self._source.settle_empty, now):
                waiting.append(NotWhole(file, WaitReason.EMPTY, since))
                due.append(since + self._source.settle_empty)
            elif self._is_open(file, is_open):
                waiting.append(NotWhole(file, WaitReason.OPEN, since))
            else:
                ready.append(Ready(file))
        settling = len(files) - len(ready) - len(waiting)
        ready.sort(key=self._place_in_order)
        return Look(tuple(ready), settling, tuple(waiting), min(due, default=None), odd)

    def _first_seen(self, file: Listed, now: datetime) -> _Seen:
        """Since when the file has been as it is; from now if it changed, or if the clock was set back."""
        seen = self._seen.get(file.name)
        recalled = self._recalled.get(file.name)
        if seen is None and recalled is not None and recalled.identity.same_file(file.identity):
            seen = _Seen(file.identity, recalled.since, recalled=True)
        if seen is None or seen.identity != file.identity or seen.since > now:
            return _Seen(file.identity, now)
        return seen

    def _is_open(self, file: Listed, is_open: Callable[[str], bool]) -> bool:
        """Asked once of a file as it is: thousands may lie here while one that cannot be read holds them up."""
        if self._closed.get(file.name) == file.identity:
            return False
        if is_open(file.name):
            return True
        self._closed[file.name] = file.identity
        return False

    def _is_vouched(self, file: Listed) -> bool:
        vouched = self._vouched.get(file.name)
        return vouched is not None and vouched.same_file(file.identity)

    def _is_quiet(self, file: Listed, quiet: timedelta, now: datetime) -> bool:
        return now - self._since(file) >= quiet or self._long_untouched(file, quiet, now)

    def _since(self, file: Listed) -> datetime:
        return max(self._seen[file.name].since, self._jumped_at)

    def _long_untouched(self, file: Listed, quiet: timedelta, now: datetime) -> bool:
        """Waiting files go at once at start. Change time counts too: modification time can be set to anything."""
        if self._remote or self._seen[file.name].recalled:
            return False
        touched = max(file.identity.mtime_ns / 1e9, file.identity.ctime_ns / 1e9, self._jumped_at.timestamp())
        return now.timestamp() - touched >= max(quiet, LONG_AGO).total_seconds()

    def _place_in_order(self, ready: Ready) -> tuple[int, str]:
        return self.position(ready.file)
