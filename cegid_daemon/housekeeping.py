"""What must be done now and then beside the messages: masked copies, search index, retention.

Each turn is short; long work goes on in the next turn. Never touches an open message.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cegid_daemon.errors import JournalUnavailable
from cegid_daemon.journal import Journal
from cegid_daemon.model import LogPolicy, RetryPolicy
from cegid_daemon.pipeline.redacting import Redacting
from cegid_daemon.trouble import Troubles

log = logging.getLogger(__name__)

_RESTING = timedelta(seconds=2)
_GIVES_WAY = 4  # times as long as a turn took: the disk and the journal are the messages' first
_PRUNE_EVERY = timedelta(hours=6)
_PAUSES = RetryPolicy()  # while the journal's disk is full


class Housekeeping:
    """A task for a lane of its own."""

    name = "housekeeping"
    lane = "housekeeping"

    def __init__(
        self, journal: Journal, policies: Mapping[str, LogPolicy], clock: Callable[[], datetime],
        stopping: Callable[[], bool], *, beat: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._policies = policies
        self._clock = clock
        self._stopping = stopping
        self._beat = beat
        self._prune_at = clock()
        self._redacting = Redacting(journal, stopping, beat)
        self._troubles = Troubles()

    def run(self) -> datetime:
        """One turn; returns when the next is due."""
        began = self._clock()
        try:
            more = self.turn()
        except JournalUnavailable as error:
            return self._troubles.failed(self.name, error, _PAUSES, began)
        self._troubles.worked(self.name)
        ended = self._clock()
        return ended + _GIVES_WAY * (ended - began) if more else ended + _RESTING

    def turn(self) -> bool:
        """Does a little of everything; whether there is more to do."""
        now = self._clock()
        masked = self._redacting.run(now)
        indexed = self._journal.search.index_slice() + self._journal.search.words.index_slice()
        if now >= self._prune_at and not self._stopping():
            self._prune_at = now + _PRUNE_EVERY
            report = self._journal.retention.prune(now, self._policies, go_on=self._goes_on)
            if any(dataclasses.astuple(report)):
                log.info("Retention: %s", report)
        return bool(masked or indexed)

    def _goes_on(self) -> bool:
        """Asked between two slices of long work: it gets on, and is to go on unless the daemon stops."""
        self._beat()
        return not self._stopping()
