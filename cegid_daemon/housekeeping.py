"""What must be done now and then beside the messages: masked copies, search index, retention.

Each turn is short; long work goes on in the next turn. Never touches an open message.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cegid_daemon.clock import BootClock, Reading, age, boot_time, is_due
from cegid_daemon.clock_watch import ClockWatch
from cegid_daemon.errors import JournalUnavailable
from cegid_daemon.journal import Journal
from cegid_daemon.journal.retention_pace import PASS_EVERY, Pass, RetentionPace
from cegid_daemon.model import LogPolicy, RetryPolicy
from cegid_daemon.pipeline.redacting import Redacting
from cegid_daemon.restored import expire_report, guard_log
from cegid_daemon.trouble import Troubles

log = logging.getLogger(__name__)

_RESTING = timedelta(seconds=2)
_GIVES_WAY = 4  # times as long as a turn took: the disk and the journal are the messages' first
_LONGEST_REST = timedelta(minutes=1)
_PACE = ("retention", "pace")
_PAUSES = RetryPolicy()  # while the journal's disk is full


class Housekeeping:
    """A task for a lane of its own."""

    name = "housekeeping"
    lane = "housekeeping"

    def __init__(
        self, journal: Journal, policies: Mapping[str, LogPolicy], clock: Callable[[], datetime],
        stopping: Callable[[], bool], *, beat: Callable[[], None] = lambda: None, boot_clock: BootClock = boot_time,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._policies = policies
        self._clock = clock
        self._stopping = stopping
        self._beat = beat
        self._boot_clock = boot_clock
        self._watch = ClockWatch(journal, clock, boot_clock)
        self._pace = RetentionPace(journal.connection)
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
        return ended + min(_GIVES_WAY * age(began, ended), _LONGEST_REST) if more else ended + _RESTING

    def turn(self) -> bool:
        """Does a little of everything; whether there is more to do."""
        self._watch.check()
        now = self._clock()
        guard_log(self._journal, now)
        masked = self._redacting.run(now)
        indexed = self._journal.search.index_slice() + self._journal.search.words.index_slice()
        if is_due(self._prune_at, now, PASS_EVERY) and not self._stopping():
            self._prune_at = now + PASS_EVERY
            expire_report(self._journal, now)
            self._prune(Reading(now, self._boot_clock()))
        return bool(masked or indexed)

    def _prune(self, now: Reading) -> None:
        one = self._pace.next_pass(now)
        if one is None:
            return
        self._report_pace(one, now.wall)
        report = self._journal.retention.prune(one.until, self._policies, go_on=self._goes_on)
        self._pace.passed(one, now)
        if any(dataclasses.astuple(report)):
            log.info("Retention: %s", report)

    def _report_pace(self, one: Pass, now: datetime) -> None:
        if not one.behind:
            self._journal.notices.clear(*_PACE)
            return
        text = (
            "The clock is far ahead of the last pass of the retention: it jumped, or the daemon did not run for long. "
            f"Each pass, every {PASS_EVERY.total_seconds() / 3600:.0f} hours, removes what one more day allows, until "
            "it has caught up. Check the clock of this machine (`timedatectl`); once it is right, no more is removed."
        )
        if self._journal.notices.report(*_PACE, text, now):
            log.warning("%s It is %d day(s) behind.", text, one.behind.days)

    def _goes_on(self) -> bool:
        """Asked between two slices of long work: it gets on, and is to go on unless the daemon stops."""
        self._beat()
        return not self._stopping()
