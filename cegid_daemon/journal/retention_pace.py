"""How far a pass of the retention may go: a clock that jumped ahead must not empty the log.

Retention has a time of its own, which follows the clock. Where the clock is more than a day ahead of it, after a jump
or a long absence, it moves on by one day a pass, so that somebody can step in. Kept in `about`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from cegid_daemon.clock import BootTime, Reading
from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_moment, utc_text

PASS_EVERY = timedelta(hours=6)
_DAY = timedelta(days=1)
_TOLERANCE = timedelta(minutes=1)
_KEY = "retention"


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass that may be made now."""

    until: datetime  # the moment that counts as now for it
    behind: timedelta  # how far the clock is ahead of that


class RetentionPace:
    """The time of the retention."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def next_pass(self, now: Reading, *, asked: bool = False) -> Pass | None:
        """The pass that may be made now; None: the last one of those that catch up was too short a time ago.

        `asked`: a person wants one, whenever the last was.
        """
        last = self._last()
        until = last.wall if last is not None else self._newest_entry(now.wall)
        if now.wall - until <= _DAY:
            return Pass(now.wall, timedelta(0))
        if last is not None and not asked and last.boot.boot == now.boot.boot:
            passed = timedelta(seconds=now.boot.seconds - last.boot.seconds)
            if passed < PASS_EVERY - _TOLERANCE:
                return None
        return Pass(until + _DAY, now.wall - until - _DAY)

    def passed(self, one: Pass, now: Reading) -> None:
        """A pass was made."""
        last = self._last()
        until = max(one.until, last.wall) if last is not None else one.until
        known = {"until": utc_text(until), "boot": now.boot.boot, "boot_seconds": now.boot.seconds}
        self._db.execute(
            "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (_KEY, json.dumps(known)),
        )

    def _last(self) -> Reading | None:
        row = self._db.one("SELECT value FROM about WHERE key = ?", (_KEY,))
        if row is None:
            return None
        known = json.loads(row[0])
        return Reading(utc_moment(known["until"]), BootTime(known["boot"], known["boot_seconds"]))

    def _newest_entry(self, now: datetime) -> datetime:
        """When the journal was last at work, as far as is known; now if never."""
        row = self._db.query("SELECT max(logged_at) FROM log_entry WHERE logged_at <= ?", (utc_text(now),))[0]
        return utc_moment(row[0]) if row[0] else now
