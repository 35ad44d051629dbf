"""Polls of APIs that came to their end, by both clocks: how far back the next one must ask.

Owns the table `poll`: of each source the last one, and those before a restart of the machine or a jump of the clock. A
poll claims all there is up to its beginning, so asking back to any of them leaves no gap; the nearest is enough. One
that lies ahead of the clock says nothing, but where the machine has not been restarted since its boot clock does.
"""

from __future__ import annotations

from datetime import timedelta

from cegid_daemon.clock import BootTime, Reading
from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_moment, utc_text

_KEPT = 20  # of each source


class Polls:
    """Complete polls by source."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def since_last(self, source: str, now: Reading) -> timedelta | None:
        """How long ago the last poll of a source began, at most; None: there was none, or none that says anything."""
        spans = [span for poll in self._of(source) if (span := _span(poll, now)) is not None]
        return min(spans, default=None)

    def complete(self, source: str, began: Reading) -> None:
        """A poll came to its end: everything it found is claimed."""
        with self._db.transaction():
            self._forget_last_unless_discontinuous(source, began)
            self._db.execute(
                "INSERT INTO poll (source, began_at, boot, boot_seconds) VALUES (?, ?, ?, ?)",
                (source, utc_text(began.wall), began.boot.boot, began.boot.seconds),
            )
            self._db.execute(  # for people and tools
                "INSERT INTO about (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (f"poll {source}", utc_text(began.wall)),
            )

    def _forget_last_unless_discontinuous(self, source: str, began: Reading) -> None:
        found = self._db.query("SELECT id FROM poll WHERE source = ? ORDER BY id DESC LIMIT ?", (source, _KEPT))
        if not found:
            return
        last = self._of(source)[0]
        if last.boot.boot == began.boot.boot and not last.jump_until(began):
            self._db.execute("DELETE FROM poll WHERE id = ?", (found[0][0],))
        self._db.execute("DELETE FROM poll WHERE source = ? AND id < ?", (source, found[-1][0]))

    def _of(self, source: str) -> list[Reading]:
        """The newest first."""
        found = self._db.query(
            "SELECT began_at, boot, boot_seconds FROM poll WHERE source = ? ORDER BY id DESC", (source,)
        )
        return [Reading(utc_moment(row[0]), BootTime(row[1], row[2])) for row in found]


def _span(poll: Reading, now: Reading) -> timedelta | None:
    if poll.wall <= now.wall or poll.boot.boot == now.boot.boot:
        return poll.passed_until(now)
    return None
