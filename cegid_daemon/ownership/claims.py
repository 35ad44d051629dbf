"""Our claims on source folders: each look at a folder asks whether its files are ours to take."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cegid_daemon.clock import is_due
from cegid_daemon.endpoints.owner_mark import OwnerMark
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import EndpointError, Permanent, Place, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.masks import OWNER_MARK, Masks
from cegid_daemon.model import Identity, Listed
from cegid_daemon.ownership.judging import Identification, Verdict, is_path, judge, refusal_of
from cegid_daemon.ownership.owners import Owner, read_owners, same_owners, write_owners

log = logging.getLogger(__name__)
refusals = logging.getLogger(f"{__name__}.refusals")  # of its own: `once` tells them as faults of its outcome

OWNED = "folder owned"  # kinds of notices
UNMARKED = "folder not marked"
TRIES = 5
_MADE_WITHIN = timedelta(seconds=10)  # a mark without content is being made; one that stays so was left by a crash
_MADE_AGAIN_AFTER = timedelta(seconds=2)
_AGAIN = timedelta(minutes=1)  # after the mark could not be written


@dataclass(frozen=True, slots=True)
class MarkedSource:
    """A source whose folder bears our mark."""

    route: str
    endpoint: Endpoint
    folder: str
    masks: Masks

    @property
    def address(self) -> str:
        """Place and folder as one text."""
        return address(self.endpoint.where, self.folder)


class FolderClaim:
    """Our claim on one source folder, for all sources of ours in it."""

    def __init__(
        self, endpoint: Endpoint, folder: str, sources: Sequence[Masks], me: Identification, journal: Journal
    ) -> None:
        self._mark = OwnerMark(endpoint, folder)
        self._remote = endpoint.abilities.remote
        self._at = (endpoint.where, folder)
        self.address = address(endpoint.where, folder)
        self._folder = self.address.removeprefix("file:")
        self._sources = tuple(dict.fromkeys(sources))
        self._me = me
        self._journal = journal
        self._lock = threading.Lock()
        self._settled: Identity | None = None  # of the mark, as it was when nobody else had a claim
        self._gone_since: datetime | None = None
        self._blank_since: datetime | None = None
        self._unwritable_until: datetime | None = None
        self._recorded = False
        self._told: dict[tuple[str, str], bool] = {}  # by kind and subject; an earlier process may have told more

    def refusal(self, masks: Masks, listing: Iterable[Listed], route: str, now: datetime) -> EndpointError | None:
        """Why a source of ours may take nothing now; None: it may. `listing` is that of the folder, just made.

        Raises EndpointError where the mark of a server cannot be asked for.
        """
        listed = next((one for one in listing if one.name == OWNER_MARK), None)
        with self._lock:
            if self._is_settled(listed):
                return None
            if self._is_being_removed(listed, now):
                return self._being_made(route)
            error = self._verdict(masks, route, now)
            told = error if isinstance(error, Permanent) else None
            self._tell(OWNED, self._subject(masks), told, now)
            return error

    @property
    def subjects(self) -> list[str]:
        """Those of its notices about other owners."""
        return [self._subject(masks) for masks in self._sources]

    def _subject(self, masks: Masks) -> str:
        return f"{self.address} ({', '.join(masks.match)})"

    def _is_settled(self, listed: Listed | None) -> bool:
        """Whether the mark is the one that was looked into; on a server it is looked into each time."""
        return (
            not self._remote and listed is not None and self._settled is not None
            and self._settled.same_file(listed.identity)
        )  # fmt: skip

    def _is_being_removed(self, listed: Listed | None, now: datetime) -> bool:
        """Whether our mark has just gone: who removes the whole folder must not find a new one in it."""
        if listed is not None or self._settled is None:
            self._gone_since = None
            return False
        self._gone_since = min(self._gone_since or now, now)
        return now - self._gone_since < _MADE_AGAIN_AFTER

    def _verdict(self, masks: Masks, route: str, now: datetime) -> EndpointError | None:
        self._settled = None
        for _ in range(TRIES):
            try:
                looked = None if self._remote else self._mark.look()  # first: a later change shows in the next listing
                body = self._mark.read()
                owners = read_owners(body) if body else []
            except (EndpointError, ValueError) as error:
                if self._remote and isinstance(error, EndpointError):
                    raise
                return self._unreadable(error, route)
            if body == b"" and not self._is_abandoned(now):
                return self._being_made(route)
            verdict = judge(owners, self._sources, self._me, self._folder, now)
            if same_owners(verdict.owners, owners):
                self._tell(UNMARKED, self.address, None, now)
                if not verdict.refused and looked is not None:
                    self._settled = looked.identity
                return self._refused(masks, verdict, route)
            if not self._write(body, verdict.owners, now):
                return self._refused(masks, verdict, route)
        return self._being_made(route)

    def _record(self) -> None:
        if not self._recorded:
            self._journal.places.marked(*self._at)
            self._recorded = True

    def _is_abandoned(self, now: datetime) -> bool:
        self._blank_since = min(self._blank_since or now, now)
        return now - self._blank_since >= _MADE_WITHIN

    def _write(self, body: bytes | None, owners: Sequence[Owner], now: datetime) -> bool:
        """Whether the mark was changed, by us or by somebody else, and is to be read again."""
        if self._unwritable_until is not None and not is_due(self._unwritable_until, now, _AGAIN):
            return False
        try:
            self._record()  # first: what is marked is never forgotten
            self._mark.swap(body, write_owners(owners) if owners else None)
        except EndpointError as error:
            self._unwritable_until = now + _AGAIN
            why = Transient(
                f"the folder cannot be marked as ours, and files are taken from it all the same ({error})",
                where=Place(file=self.address),
                why="a second daemon on this folder would not be noticed",
                remedy="Let the daemon's user write there, or set owner_mark = false for the source.",
            )
            self._tell(UNMARKED, self.address, why, now)
            return False
        self._blank_since = self._unwritable_until = None
        return True

    def _tell(self, kind: str, subject: str, error: EndpointError | None, now: datetime) -> None:
        if error is not None:
            is_known = self._told.get((kind, subject), False)
            self._told[kind, subject] = True
            if self._journal.notices.report(kind, subject, str(error), now) or not is_known:
                (refusals if kind == OWNED else log).error("%s", error)
        elif self._told.get((kind, subject), True):
            self._told[kind, subject] = False
            if self._journal.notices.clear(kind, subject):
                log.warning("%s: resolved: %s", subject, kind)

    # -- what is said ------------------------------------------------------------------------------------------------

    def _refused(self, masks: Masks, verdict: Verdict, route: str) -> EndpointError | None:
        found = next(((other, why) for source, other, why in verdict.refused if source == masks), None)
        return refusal_of(self._folder, found[0], route, found[1]) if found is not None else None

    def _being_made(self, route: str) -> EndpointError:
        return Transient(
            "the owner's mark of the folder is just being made or changed, and nothing is taken until it is read",
            where=Place(route=route, file=f"{self._folder}/{OWNER_MARK}"), remedy="It is looked at again by itself.",
        )  # fmt: skip

    def _unreadable(self, error: Exception, route: str) -> EndpointError:
        return Permanent(
            "whose folder this is cannot be told, and nothing is taken from it",
            where=Place(route=route, file=f"{self._folder}/{OWNER_MARK}"), why=str(error),
            remedy=f"Make it readable; or, if no other daemon uses the folder: cegid-daemon claim-folder {route}",
        )  # fmt: skip

    # -- decided by a person, or over --------------------------------------------------------------------------------

    def take(self, now: datetime) -> list[Owner]:
        """Takes the folder over; returns the owners whose claim ends. Raises EndpointError."""
        for _ in range(TRIES):
            body = self._mark.read()
            try:
                owners = read_owners(body) if body else []
            except ValueError:
                owners = []
            others = [one for one in owners if one.owner != self._me.instance]
            displaced = [one for one in others if any(map(one.meets, self._sources))]
            mine = self._me.owner(self._folder, self._sources, now)
            self._record()
            if self._mark.swap(body, write_owners([*(one for one in others if one not in displaced), mine])):
                return displaced
        raise Transient("the owner's mark changes all the time", where=Place(file=self.address), remedy="Try again.")


def folder_claims(sources: Iterable[MarkedSource], me: Identification, journal: Journal) -> dict[str, FolderClaim]:
    """Our claims on the folders of these sources, by address: a folder may be spelled in several ways."""
    groups: dict[str, list[MarkedSource]] = {}
    for source in sources:
        groups.setdefault(source.address, []).append(source)
    return {
        at: FolderClaim(group[0].endpoint, group[0].folder, [one.masks for one in group], me, journal)
        for at, group in groups.items()
    }


def address(place: str, folder: str) -> str:
    """A place and a folder of it as one text."""
    return f"{place.rstrip('/')}/{folder}".rstrip("/")


def look_into(sources: Sequence[MarkedSource], me: Identification, now: datetime) -> list[str]:
    """What keeps sources of ours from taking files of folders of this machine, a text each. Changes nothing."""
    found: list[str] = []
    for source in sources:
        folder = source.address.removeprefix("file:")
        try:
            owners = read_owners(Path(folder, OWNER_MARK).read_bytes()) if is_path(folder) else []
        except (OSError, ValueError):
            continue
        refused = judge(owners, [source.masks], me, folder, now).refused
        found += [str(refusal_of(folder, other, source.route, why)) for _, other, why in refused]
    return list(dict.fromkeys(found))
