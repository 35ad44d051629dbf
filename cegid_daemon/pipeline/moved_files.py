"""Files that messages were made of and that lie in another folder now: their folder was moved, copied, or is reached by
another path.

Owns when a listed file is one that was taken elsewhere. It has the same name and size, and the same inode and time, or,
where the inode is another or unknown, about the same time and the same bytes. And no source of today takes files from
where it was taken, or it lies there no longer. Takes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from cegid_daemon.endpoints.protocol import Marking
from cegid_daemon.errors import Absent, EndpointError, SourceChanged
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.model import Identity, Listed, Route, location
from cegid_daemon.pipeline.places import Name, Places

log = logging.getLogger(__name__)

_SAME_TIME = timedelta(minutes=1) // timedelta(microseconds=1) * 1000  # in ns: some listings tell minutes only
_NAMED = 3  # files named one by one
Folder = tuple[str, str]  # place and folder


class MovedFiles:
    """Recognises files that were taken in another folder."""

    def __init__(self, journal: Journal, places: Places, routes: Mapping[str, Route]) -> None:
        self._journal = journal
        self._places = places
        self._routes = routes
        sources = [route.source for route in routes.values() if not route.source.request and not route.answers]
        self._used = {(places.place(source.endpoint), source.folder) for source in sources}

    def adopt(self, here: Folder, listed: Iterable[Listed], routes: Collection[str], *, left: bool) -> set[str]:
        """The names among the files listed in a folder that were taken elsewhere: they are known here from now on.

        `left`: also those that stay where they are by configuration. Raises EndpointError.
        """
        folders = self._folders(here, routes, left)
        if not folders:
            return set()
        by_name = {one.name: one for one in listed if one.regular}
        alike = [
            file
            for folder in folders
            for file in self._journal.sources.kept_in(*folder, left=left)
            if file.name in by_name and _look_alike(file.identity, by_name[file.name].identity)
        ]
        moved = {
            file.name: file
            for file in self._not_there(here, alike)
            if self._is_same(file, here, by_name[file.name])
        }  # fmt: skip
        if moved:
            with self._journal.connection.transaction():
                for name, file in moved.items():
                    self._journal.sources.adopt(file, here, by_name[name].identity)
            self._tell(here, list(moved.values()))
        return set(moved)

    def follow(self, file: SourceFile, messages: Iterable[Message]) -> SourceFile:
        """The file as it is known, or where it lies now: in the folder from which its own route takes files today."""
        for route in (self._routes[one.route] for one in messages if one.route in self._routes):
            here = (self._places.place(route.source.endpoint), route.source.folder)
            if here == (file.place, file.folder):
                return file
            with contextlib.suppress(EndpointError):
                look = self._places.look([(*here, file.name)])[(*here, file.name)]
                if not isinstance(look, Listed) or file.name in self._journal.sources.lying(*here):
                    continue
                if self.adopt(here, [look], [route.name], left=False):
                    return self._journal.sources.one(file.id)
        return file

    def _folders(self, here: Folder, routes: Collection[str], left: bool) -> list[Folder]:
        """Those in which files were taken that may lie here now."""
        known = [folder for folder in self._journal.sources.folders(left=left) if folder != here]
        if not known or (all(folder in self._used for folder in known) and not self._have_moved(here, routes)):
            return []
        return known

    def _have_moved(self, here: Folder, routes: Collection[str]) -> bool:
        """Whether routes of today took files elsewhere, where another one takes them now."""
        return self._journal.sources.elsewhere(routes, here)

    def _not_there(self, here: Folder, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Those that nobody finds any more where they were taken."""
        used = [file for file in files if (file.place, file.folder) in self._used]
        looks = self._places.look(_name(file) for file in used)
        there = set()
        for file in used:
            look = looks[_name(file)]
            if isinstance(look, EndpointError) and not isinstance(look, Absent):
                raise look
            if isinstance(look, Listed) and look.identity.same_file(file.identity):
                there.add(file.id)
        return [file for file in files if file.id not in there or self._is_alias(here, (file.place, file.folder))]

    def _is_alias(self, one: Folder, other: Folder) -> bool:
        """Whether two paths lead to the same folder of this machine."""
        marks = []
        for place, folder in (one, other):
            endpoint = self._places.endpoint(place)
            if endpoint.abilities.remote or not isinstance(endpoint, Marking):
                return False
            marks.append(endpoint.mark(folder))
        return marks[0] == marks[1]

    def _is_same(self, file: SourceFile, here: Folder, listed: Listed) -> bool:
        """Whether it is the file that was taken, by its inode or its bytes."""
        if listed.identity.inode and listed.identity.same_file(file.identity):
            return True
        messages = self._journal.ledger.of_source(file.id)
        if not messages or not messages[0].sha256:  # it was too large to be read
            return listed.identity.mtime_ns == file.identity.mtime_ns
        digest = hashlib.sha256()
        try:
            with self._places.endpoint(here[0]).read(here[1], listed.name) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
        except (SourceChanged, Absent):
            return False
        return digest.hexdigest() == messages[0].sha256

    def _tell(self, here: Folder, files: Sequence[SourceFile]) -> None:
        names = ", ".join(location(file.place, file.folder, file.name) for file in files[:_NAMED])
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        log.warning(
            "%s: %d file(s) were taken before in another folder (%s%s) and are not taken again.",
            location(*here, "").rstrip("/"), len(files), names, more,
        )  # fmt: skip


def _name(file: SourceFile) -> Name:
    return file.place, file.folder, file.name


def _look_alike(taken: Identity, here: Identity) -> bool:
    if taken.size != here.size:
        return False
    if not taken.mtime_ns or not here.mtime_ns:
        return True
    if taken.inode and here.inode:  # both of this machine: a move or a copy that keeps times keeps them exactly
        return taken.mtime_ns == here.mtime_ns
    return abs(taken.mtime_ns - here.mtime_ns) < _SAME_TIME
