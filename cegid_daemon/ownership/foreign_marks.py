"""Marks of other daemons in folders that bear none of ours: they are told, and files are taken all the same."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cegid_daemon.clock import is_within
from cegid_daemon.endpoints.owner_mark import OwnerMark
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import EndpointError, Permanent, Place
from cegid_daemon.journal.notices import Notices
from cegid_daemon.masks import OWNER_MARK, Masks
from cegid_daemon.model import Listed
from cegid_daemon.ownership.claims import OWNED, address, refusals
from cegid_daemon.ownership.judging import Identification, judge
from cegid_daemon.ownership.owners import read_owners

_ASK_EVERY = timedelta(minutes=5)  # some servers list no names that begin with a dot


class ForeignMark:
    """The mark of another daemon in one source folder that is not marked as ours."""

    def __init__(
        self, endpoint: Endpoint, folder: str, masks: Masks, route: str, me: Identification, notices: Notices
    ) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._masks = masks
        self._route = route
        self._me = me
        self._notices = notices
        self._asked_at: datetime | None = None
        self._told: str | None = None  # what an earlier process told is not known

    @property
    def subject(self) -> str:
        """That of its notice."""
        return f"{address(self._endpoint.where, self._folder)} ({', '.join(self._masks.match)})"

    def examine(self, listing: Iterable[Listed], now: datetime) -> EndpointError | None:
        """What is to be told of the mark of another daemon; None: there is none that concerns this source."""
        listed = any(one.name == OWNER_MARK for one in listing)
        if not listed and self._asked_at is not None and not self._told and is_within(self._asked_at, _ASK_EVERY, now):
            return None
        self._asked_at = now
        error = foreign_mark(self._endpoint, self._folder, self._masks, self._route, self._me, now, listed=listed)
        self._tell(error, now)
        return error

    def _tell(self, error: EndpointError | None, now: datetime) -> None:
        text = "" if error is None else str(error)
        if text == self._told:
            return
        if text:
            self._notices.report(OWNED, self.subject, text, now)
            refusals.warning("%s", text)
        else:
            self._notices.clear(OWNED, self.subject)
        self._told = text


def foreign_mark(
    endpoint: Endpoint, folder: str, masks: Masks, route: str, me: Identification, now: datetime, *, listed: bool
) -> EndpointError | None:
    """What is to be told of the mark in a folder that bears none of ours. `listed`: the listing shows it."""
    at = Place(route=route, file=address(endpoint.where, folder))
    try:
        body = OwnerMark(endpoint, folder).read()
        owners = read_owners(body) if body else []
    except (EndpointError, ValueError) as error:
        return _told(route, at, f"its mark {OWNER_MARK} cannot be read ({error})") if listed else None
    refused = judge(owners, [masks], me, address(endpoint.where, folder), now).refused
    return _told(route, at, f"its mark {OWNER_MARK} names {refused[0][1]}") if refused else None


def _told(route: str, at: Place, why: str) -> Permanent:
    return Permanent(
        "another cegid-daemon takes files from this folder, and what both take arrives twice",
        where=at, why=why,
        remedy="Stop that one or this, or give both masks that cannot overlap. If that one is no more, write "
        f"owner_mark = true in the source and run: cegid-daemon claim-folder {route}",
    )  # fmt: skip
