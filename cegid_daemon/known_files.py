"""Which listed files of one source no message was made of yet.

Owns the difference of a listing and the journal: what lies there and was taken, what stays by configuration, what was
taken in another folder, and which names are free again. Reads no file but to recognise one. Takes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import SourceFile
from cegid_daemon.model import Listed, Route, SourceSpec, location
from cegid_daemon.pipeline import Pipeline

log = logging.getLogger(__name__)


class KnownFiles:
    """The files of one source folder that messages were made of."""

    def __init__(
        self, routes: Sequence[Route], endpoint: Endpoint, journal: Journal, pipeline: Pipeline,
        accepts: Callable[[str], bool],
    ) -> None:  # fmt: skip
        """`accepts` tells the names of this source from those of others that share its folder."""
        self._spec: SourceSpec = routes[0].source
        self._routes = [route.name for route in routes]
        self._here = (endpoint.where, self._spec.folder)
        self._journal = journal
        self._pipeline = pipeline
        self._accepts = accepts

    def fresh(self, listing: Sequence[Listed]) -> Sequence[Listed]:
        """What no message was made of yet. Raises EndpointError."""
        if not any(one.regular for one in listing):
            return listing
        known = self._journal.sources.lying(*self._here)
        self._free_names(listing, known)
        left = self._journal.sources.left(*self._here) if self._spec.after == "leave" else set()
        fresh = [one for one in listing if one.name not in known and (one.name, one.identity) not in left]
        moved = self._adopt_moved(fresh)
        return [one for one in fresh if one.name not in moved] if moved else fresh

    def _free_names(self, listing: Sequence[Listed], known: dict[str, SourceFile]) -> None:
        """A new file under the name of one that is no affair of ours (its route is gone, or moved on) is taken.

        The old one is no more: its message goes on, or is closed, from the bytes that were stored.
        """
        for file in self._journal.sources.give_up(known, listing, self._routes):
            log.warning(
                "%s was replaced by its sender, and the new file is taken. The message of the old one belongs to a "
                "route that takes nothing from here any more; its bytes are kept.", location(*self._here, file.name),
            )  # fmt: skip
            del known[file.name]

    def _adopt_moved(self, fresh: Sequence[Listed]) -> set[str]:
        """What was taken in another folder: the folder was moved, or is reached by another path now."""
        wanted = [one for one in fresh if one.regular and self._accepts(one.name)]
        if not wanted:
            return set()
        left = self._spec.after == "leave"
        return self._pipeline.adopt_moved(self._here, wanted, self._routes, left=left)
