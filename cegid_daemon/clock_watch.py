"""Notices a wall clock that jumped, and stored times that lie ahead of it; each is reported once.

Within one start of the machine the wall clock is compared with the boot clock; across a restart only a clock that is
behind what was seen before gives itself away. Decides nothing: what stored times may decide is the affair of each place
that keeps one (`clock`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from cegid_daemon.clock import JUMP, BootClock, BootTime, Reading, age, boot_time
from cegid_daemon.journal import Journal
from cegid_daemon.model import utc_moment, utc_text

log = logging.getLogger(__name__)

KIND = "clock"
_KEY = "clock"
_KEEP_EVERY = timedelta(minutes=1)
_SHOWN_FOR = timedelta(days=1)
_REMEDY = (
    "Check the clock of this machine (`timedatectl`). Waiting messages and polls go on all the same; retention removes "
    "what one more day allows, at most, in each pass."
)


class ClockWatch:
    """The clocks as this process and those before it saw them."""

    def __init__(self, journal: Journal, clock: Callable[[], datetime], boot_clock: BootClock = boot_time) -> None:
        self._journal = journal
        self._clock = clock
        self._boot_clock = boot_clock
        self._last = self._kept()
        self._kept_at: Reading | None = None

    def check(self) -> None:
        """Compares the clocks with the last reading. Cheap: something is written once a minute, or on a jump."""
        now = Reading(self._clock(), self._boot_clock())
        jumped = self._report_jump(now) if self._last is not None else False
        due = self._kept_at is None or abs(self._kept_at.passed_until(now)) >= _KEEP_EVERY
        self._last = now
        if jumped or due:
            self._report_times_ahead(now.wall)
            self._clear_old(now.wall)
            self._keep(now)
            self._kept_at = now

    def _report_jump(self, now: Reading) -> bool:
        last = self._last
        assert last is not None
        if last.boot.boot != now.boot.boot:
            if last.wall - now.wall <= JUMP:
                return False
            text = f"the clock says {_text(now.wall)}, but was at {_text(last.wall)} before the machine was restarted"
        elif jump := last.jump_until(now):
            way = "forward" if jump > timedelta(0) else "back"
            text = f"the clock jumped {way} by {_span(jump)}, from {_text(last.wall)} to {_text(now.wall)}"
        else:
            return False
        self._report("jump", text, now.wall)
        return True

    def _report_times_ahead(self, now: datetime) -> None:
        if ahead := self._journal.moments.latest_ahead(now + JUMP):
            text = (
                f"the journal holds times up to {_text(ahead)}, which is ahead of the clock: "
                "the clock was ahead once, or is behind now. Such times count as now"
            )
            self._report("ahead", text, now)

    def _report(self, subject: str, text: str, now: datetime) -> None:
        if self._journal.notices.report(KIND, subject, f"{text}. {_REMEDY}", now):
            log.warning("%s. %s", text[0].upper() + text[1:], _REMEDY)

    def _clear_old(self, now: datetime) -> None:
        for notice in self._journal.notices.active():
            if notice.kind == KIND and (age(notice.last_at, now) >= _SHOWN_FOR or notice.last_at > now + JUMP):
                self._journal.notices.clear(KIND, notice.subject)

    def _kept(self) -> Reading | None:
        row = self._journal.connection.one("SELECT value FROM about WHERE key = ?", (_KEY,))
        if row is None:
            return None
        known = json.loads(row[0])
        return Reading(utc_moment(known["at"]), BootTime(known["boot"], known["boot_seconds"]))

    def _keep(self, now: Reading) -> None:
        known = {"at": utc_text(now.wall), "boot": now.boot.boot, "boot_seconds": now.boot.seconds}
        self._journal.connection.execute(
            "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (_KEY, json.dumps(known)),
        )


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _span(span: timedelta) -> str:
    return str(abs(timedelta(seconds=round(span.total_seconds()))))
