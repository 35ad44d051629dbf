"""Figures of the last hours: files, failures and the time to deliver, by the hour. Only reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_moment, utc_text

_TIMED = 20_000  # the newest messages of the time asked for, of which the time to deliver is taken
_COUNTS = """
    SELECT substr(received_at, 1, 13) AS hour, count(*) AS files, sum(state = 'failed') AS failed
    FROM message WHERE received_at >= ? GROUP BY hour
"""
_TIMES = """
    SELECT received_at, closed_at FROM message WHERE received_at >= ? AND state = 'done'
    ORDER BY received_at DESC LIMIT ?
"""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour from `start` on; `seconds` is the median time from receipt to done, None where none was done."""

    start: datetime
    files: int = 0
    failed: int = 0
    seconds: float | None = None


class Statistics:
    """What happened lately."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hours(self, now: datetime, count: int) -> list[Hour]:
        """The last `count` hours, oldest first; the last one is under way."""
        first = now.replace(minute=0, second=0, microsecond=0) - _HOUR * (count - 1)
        since = utc_text(first)
        counts = {row["hour"]: row for row in self._connection.query(_COUNTS, (since,))}
        times = self._seconds(since)
        return [
            Hour(start, counts[key]["files"], counts[key]["failed"], _median(times.get(key, [])))
            if key in counts else Hour(start)
            for start in (first + _HOUR * number for number in range(count))
            for key in (utc_text(start)[:13],)
        ]  # fmt: skip

    def _seconds(self, since: str) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for received, closed in self._connection.query(_TIMES, (since, _TIMED)):
            took = (utc_moment(closed) - utc_moment(received)).total_seconds()
            found.setdefault(received[:13], []).append(took)
        return found

    def received(self, route: str) -> int:
        """How many messages a route ever had."""
        row = self._connection.one("SELECT max(seq) FROM message WHERE route = ?", (route,))
        return int(row[0] or 0) if row else 0


def _median(seconds: list[float]) -> float | None:
    return median(seconds) if seconds else None
