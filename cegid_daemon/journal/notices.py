"""Notices: what a person should know that belongs to no message, such as a listing line that cannot be read.

Owns the table `notice`: one row for each kind and subject while it holds. Shown by `status`, the console and alerts;
the one who reports a notice clears it when it no longer holds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_moment, utc_text


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know."""

    kind: str  # a short name for programs: "listing", "clock", …
    subject: str  # what it is about; with `kind` it tells one notice from another
    text: str  # what, where, why, and what to do
    first_at: datetime
    last_at: datetime
    times: int


class Notices:
    """The notices that hold now."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def report(self, kind: str, subject: str, text: str, now: datetime) -> bool:
        """Notes that something holds. True if it is new or its text changed: then the caller logs it."""
        kept, words = (value.encode("utf-8", "backslashreplace").decode() for value in (subject, text))
        with self._db.transaction():
            row = self._db.one("SELECT text FROM notice WHERE kind = ? AND subject = ?", (kind, kept))
            self._db.execute(
                "INSERT INTO notice (kind, subject, text, first_at, last_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (kind, subject) DO UPDATE SET text = excluded.text, last_at = excluded.last_at, "
                "first_at = CASE WHEN notice.first_at > excluded.last_at THEN excluded.last_at "
                "ELSE notice.first_at END, "
                "times = notice.times + 1",
                (kind, kept, words, utc_text(now), utc_text(now)),
            )
        return row is None or row[0] != words

    def clear(self, kind: str, subject: str) -> bool:
        """It holds no longer. True if it did until now."""
        kept = subject.encode("utf-8", "backslashreplace").decode()
        return self._db.execute("DELETE FROM notice WHERE kind = ? AND subject = ?", (kind, kept)).rowcount > 0

    def clear_kind(self, kind: str, keep_subjects: Collection[str] = ()) -> None:
        """None of a kind holds any longer but those of `keep_subjects`."""
        kept = {subject.encode("utf-8", "backslashreplace").decode() for subject in keep_subjects}
        for notice in self.active():
            if notice.kind == kind and notice.subject not in kept:
                self.clear(kind, notice.subject)

    def active(self) -> list[Notice]:
        """Every notice that holds, the oldest first."""
        found = self._db.query(
            "SELECT kind, subject, text, first_at, last_at, times FROM notice ORDER BY first_at, kind, subject"
        )
        return [Notice(row[0], row[1], row[2], utc_moment(row[3]), utc_moment(row[4]), row[5]) for row in found]
