"""The stored times that decide something, seen together: whether one of them lies ahead of the clock."""

from __future__ import annotations

from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_moment, utc_text

# Past events only: what is due lies ahead by nature.
_LATEST = (
    "SELECT max(first_failed_at) FROM message WHERE closed_at IS NULL",
    "SELECT max(wait_began_at) FROM message WHERE closed_at IS NULL",
    "SELECT max(since) FROM follow_up",
    "SELECT max(failing_since) FROM contact",
    "SELECT max(ok_at) FROM contact",
    "SELECT max(began_at) FROM poll WHERE id IN (SELECT max(id) FROM poll GROUP BY source)",
)


class Moments:
    """The stored times."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def latest_ahead(self, now: datetime) -> datetime | None:
        """The latest of the stored past events, if it is later than `now`."""
        found = [row[0] for sql in _LATEST for row in self._db.query(sql) if row[0] is not None]
        latest = max(found, default="")
        return utc_moment(latest) if latest > utc_text(now) else None
