"""What must be done now and then beside the messages: search index, retention, the write-ahead log, the spare room.

Each turn is short; long work goes on in the next turn. Never touches an open message.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cegid_daemon.journal import Journal
from cegid_daemon.model import LogPolicy

log = logging.getLogger(__name__)

_RESTING = timedelta(seconds=2)
_PRUNE_EVERY = timedelta(hours=6)


class Housekeeping:
    """A task for a lane of its own."""

    name = "housekeeping"
    lane = "housekeeping"

    def __init__(
        self, journal: Journal, policies: Mapping[str, LogPolicy], clock: Callable[[], datetime],
        stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._policies = policies
        self._clock = clock
        self._stopping = stopping
        self._prune_at = clock()

    def run(self) -> datetime:
        """One turn; returns when the next is due."""
        now = self._clock()
        indexed = self._journal.search.index_slice()
        if now >= self._prune_at and not self._stopping():
            self._prune_at = now + _PRUNE_EVERY
            report = self._journal.retention.prune(now, self._policies, go_on=lambda: not self._stopping())
            if any(dataclasses.astuple(report)):
                log.info("Retention: %s", report)
        return now if indexed else now + _RESTING
