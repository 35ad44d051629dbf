"""Our marks in folders that no source of ours uses any more: they are taken away."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.endpoints.owner_mark import OwnerMark
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, EndpointError
from cegid_daemon.journal import Journal
from cegid_daemon.masks import OWNER_MARK
from cegid_daemon.ownership.claims import OWNED, TRIES, UNMARKED, FolderClaim, address
from cegid_daemon.ownership.owners import read_owners, write_owners

log = logging.getLogger(__name__)


class OldMarks:
    """Our marks in folders that no source of ours uses any more."""

    def __init__(
        self, journal: Journal, endpoints: Mapping[str, Endpoint], claims: Mapping[str, FolderClaim],
        foreign: Collection[str] = (),
    ) -> None:  # fmt: skip
        """`claims`: on the folders that are still ours, by address; `foreign`: subjects told of folders without one."""
        self._journal = journal
        self._at = {endpoint.where: endpoint for endpoint in endpoints.values()}
        self._claims = claims
        self._foreign = foreign

    def remove(self) -> None:
        """Takes them away, as far as that is possible now."""
        for place, folder in self._journal.places.marks():
            if address(place, folder) not in self._claims and self._remove(place, folder):
                self._journal.places.unmarked(place, folder)
        self._journal.notices.clear_kind(UNMARKED, self._claims)
        subjects = [subject for claim in self._claims.values() for subject in claim.subjects]
        self._journal.notices.clear_kind(OWNED, [*subjects, *self._foreign])

    def _remove(self, place: str, folder: str) -> bool:
        endpoint = self._at.get(place)
        if endpoint is None and place.startswith("file:"):
            endpoint = FolderEndpoint(place.removeprefix("file:"))
        where = f"{address(place, folder)}/{OWNER_MARK}"
        if endpoint is None:
            log.warning("Our mark %s stays, as no endpoint leads there any more: remove it by hand", where)
            return True
        try:
            _release(endpoint, folder, self._journal.ledger.instance())
        except EndpointError as error:
            log.warning("Our mark %s cannot be taken away: %s", where, error)
            return False
        return True


def _release(endpoint: Endpoint, folder: str, owner: str) -> None:
    """Takes our claim out of a folder's mark, and the mark away if nobody else has one. Raises EndpointError."""
    mark = OwnerMark(endpoint, folder)
    for _ in range(TRIES):
        try:
            body = mark.read()
            owners = read_owners(body) if body else []
        except (Absent, ValueError):
            return
        rest = [one for one in owners if one.owner != owner]
        if len(rest) == len(owners) or mark.swap(body, write_owners(rest) if rest else None):
            return
