"""Where originals go: kept in an archive or among the failed, left, or given a name of ours to be removed under.

Owns the rule and the search for a free name. Moves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from cegid_daemon.journal.rows import Message, SourceFile
from cegid_daemon.model import Route, SourceSpec, SourceState, State
from cegid_daemon.pipeline.naming import is_parting_name, numbered, parting_name, subfolder
from cegid_daemon.pipeline.places import Looks, Name, Places, found

_REMEMBERED = 1_000  # names whose last number is known


class Destinations:
    """Chooses where each file goes."""

    def __init__(self, places: Places, routes: Mapping[str, Route], instance: str) -> None:
        self._places = places
        self._routes = routes
        self._instance = instance
        self._last_number: dict[Name, int] = {}  # where the search for a free name went on last time

    def choose(
        self, file: SourceFile, messages: Sequence[Message], taken: Collection[Name], now: datetime, looks: Looks
    ) -> tuple[str, str]:
        """Folder and name; a name that nothing in the folder has and that is not among `taken`."""
        archive = self._archive(file, messages, now)
        if archive is not None:
            return self._free(file, archive, taken, looks)
        left = self.spec(file, messages).after == "leave"
        return file.folder, file.name if left else parting_name(self._instance, file.id)

    def _archive(self, file: SourceFile, messages: Sequence[Message], now: datetime) -> str | None:
        """The folder it is kept in; None if it is left or removed."""
        spec = self.spec(file, messages)
        if spec.after == "leave":
            return None
        if any(message.state is State.FAILED for message in messages):
            return subfolder(file.folder, "failed")
        return None if spec.after == "delete" else subfolder(file.folder, spec.archive or f"processed/{now:%Y-%m-%d}")

    def spec(self, file: SourceFile, messages: Iterable[Message]) -> SourceSpec:
        """As configured now; as whoever takes files from this folder now, if the routes are gone; else the defaults."""
        routes = (self._routes.get(message.route) for message in messages)
        here = (route for route in self._routes.values() if self._takes_from(route.source, file))
        return next((route.source for route in (*routes, *here) if route is not None), SourceSpec(endpoint=""))

    def _takes_from(self, source: SourceSpec, file: SourceFile) -> bool:
        return self._places.place(source.endpoint) == file.place and source.folder == file.folder

    def _free(self, file: SourceFile, folder: str, taken: Collection[Name], looks: Looks) -> tuple[str, str]:
        """The next name that nothing in the folder has, and no other file is about to get."""
        if len(self._last_number) >= _REMEMBERED:
            self._last_number.clear()
        number = self._last_number.get((file.place, folder, file.name), 0)
        while True:
            number += 1
            name = numbered(file.name, number)
            at = (file.place, folder, name)
            if at not in taken and found(looks[at] if at in looks else self._places.look([at])[at]) is None:
                self._last_number[file.place, folder, file.name] = number
                return folder, name

    def likely(self, over: Iterable[tuple[SourceFile, Sequence[Message]]], now: datetime) -> Iterator[Name]:
        """The names that are tried first, to be looked at together."""
        for file, messages in over:
            folder = self._archive(file, messages, now) if file.state is SourceState.LYING else None
            if folder is not None:
                number = self._last_number.get((file.place, folder, file.name), 0)
                yield file.place, folder, numbered(file.name, number + 1)

    def parts_with(self, file: SourceFile) -> bool:
        """Whether a file has the name under which it is removed."""
        return file.filed_folder == file.folder and is_parting_name(self._instance, file.filed_name)
