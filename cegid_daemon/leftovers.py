"""What an earlier configuration left behind: messages of routes that are gone, their files, files that waited, marks.

Owns what becomes of them: open messages are told until a route takes them over or a person closes them; files of
closed ones are filed away where they lie. Carries nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from cegid_daemon.carrying import UNFILED
from cegid_daemon.errors import CegidDaemonError, JournalUnavailable
from cegid_daemon.journal import Journal
from cegid_daemon.journal.moves import ROUTE_GONE
from cegid_daemon.model import RetryPolicy, Route
from cegid_daemon.pipeline import Pipeline
from cegid_daemon.trouble import Troubles
from cegid_daemon.waiting import forget_elsewhere

log = logging.getLogger(__name__)

_LOOK_EVERY = timedelta(seconds=5)
_NOTHING_LEFT = timedelta(hours=1)
_PAUSES = RetryPolicy()


class Leftovers:
    """A task for the lane of the housekeeping."""

    name = "leftovers"
    lane = "housekeeping"

    def __init__(
        self, journal: Journal, pipeline: Pipeline, routes: Mapping[str, Route], folders: Collection[tuple[str, str]],
        clock: Callable[[], datetime], *, sources: Collection[str] = (), places: Collection[str] = (),
        remove_marks: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`folders`: every place and folder that a route takes files from; `sources`: the names of all sources.

        `places`: where endpoints lead; `remove_marks`: from folders that are no longer ours.
        """
        self._sources = sources
        self._places = places
        self._remove_marks = remove_marks
        self._journal = journal
        self._pipeline = pipeline
        self._routes = routes
        self._folders = frozenset(folders)
        self._clock = clock
        self._troubles = Troubles()
        self._begun = False
        self._watches = False  # whether files are to be looked at again
        self._settled_at: tuple[int, int] | None = None

    def run(self) -> datetime:
        """One look; returns when the next is due."""
        now = self._clock()
        if not self._troubles.due(self.name, now):
            return now + _LOOK_EVERY
        try:
            version = self._journal.connection.version()
            if self._watches or version != self._settled_at:
                faults = self.look(now)
                self._settled_at = version if not faults and self._journal.connection.version() == version else None
        except JournalUnavailable as error:
            return self._troubles.failed(self.name, error, _PAUSES, now)
        rests = self._settled_at is not None and not self._watches
        return now + (_NOTHING_LEFT if rests else _LOOK_EVERY)

    def look(self, now: datetime, *, patient: bool = True) -> list[str]:
        """One look; what is left and needs a person, a line each."""
        if not self._begun:
            self._forget()
        unfiled = [*self._pipeline.take_back_left_over(now), *self._pipeline.file_left_over(now)]
        self._tell_unfiled(unfiled, now)
        errors = [*unfiled, *self._recheck(now, patient)]
        gone = self._tell_gone(now)
        self._begun = True
        return gone + [str(error) for error in errors]

    def _recheck(self, now: datetime, patient: bool) -> list[CegidDaemonError]:
        """Files that were filed away a moment ago where no source of today looks."""
        self._watches = False
        errors: list[CegidDaemonError] = []
        for place, folder in self._journal.sources.recheck_folders():
            if (place, folder) in self._folders or place not in self._places:
                continue
            rechecked = self._pipeline.recheck(place, folder, now, patient=patient)
            errors += rechecked.errors
            self._watches |= rechecked.next_at is not None
        return errors

    def _forget(self) -> None:
        """What was told of folders and sources that are no more holds no longer."""
        forget_elsewhere(self._journal, self._folders)
        self._remove_marks()
        self._journal.notices.clear_kind(UNFILED, {self.name, *self._sources})

    def _tell_gone(self, now: datetime) -> list[str]:
        gone = self._journal.moves.gone(self._routes)
        for route in gone:
            if self._journal.notices.report(ROUTE_GONE, route.name, str(route), now) or not self._begun:
                log.warning("%s", route)
        self._journal.notices.clear_kind(ROUTE_GONE, [route.name for route in gone])
        return [str(route) for route in gone]

    def _tell_unfiled(self, errors: Collection[CegidDaemonError], now: datetime) -> None:
        if not errors:
            self._troubles.worked(self.name)
            self._journal.notices.clear(UNFILED, self.name)
            return
        error = next(iter(errors))
        self._troubles.failed(self.name, error, _PAUSES, now)
        self._journal.notices.report(UNFILED, self.name, str(error), now)
