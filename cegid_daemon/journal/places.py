"""What is known of places: which folders were made, which bear our mark, when each endpoint last answered.

Owns the tables `folder_made`, `temporary_pattern`, `owner_mark` and `contact`. Makes no folder and asks no endpoint.
"""

from __future__ import annotations

from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import escape_name, unescape_name, utc_text


class Places:
    """Folders and endpoints."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def made(self, place: str, folder: str, now: datetime) -> bool:
        """Notes that a folder exists or was made; False if that was noted before."""
        return self._db.execute(
            "INSERT OR IGNORE INTO folder_made (endpoint, folder, made_at) VALUES (?, ?, ?)",
            (place, escape_name(folder), utc_text(now)),
        ).rowcount > 0  # fmt: skip

    def patterns(self, route: str) -> list[tuple[str, str, str]]:
        """Place, folder and pattern of all temporary names a route gave, until none of them can be left over."""
        found = self._db.query("SELECT place, folder, pattern FROM temporary_pattern WHERE route = ?", (route,))
        return [(row["place"], unescape_name(row["folder"]), unescape_name(row["pattern"])) for row in found]

    def use_pattern(self, route: str, place: str, folder: str, pattern: str) -> None:
        """Notes a pattern before the first name it gives is used."""
        self._db.execute(
            "INSERT INTO temporary_pattern (route, place, folder, pattern) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (route, place, escape_name(folder), escape_name(pattern)),
        )

    def drop_pattern(self, route: str, place: str, folder: str, pattern: str) -> None:
        """No name of it is left over any more."""
        self._db.execute(
            "DELETE FROM temporary_pattern WHERE route = ? AND place = ? AND folder = ? AND pattern = ?",
            (route, place, escape_name(folder), escape_name(pattern)),
        )

    def marked(self, place: str, folder: str) -> None:
        """Notes that a folder bears our owner's mark."""
        self._db.execute(
            "INSERT INTO owner_mark (place, folder) VALUES (?, ?) ON CONFLICT (place, folder) DO NOTHING",
            (place, escape_name(folder)),
        )

    def unmarked(self, place: str, folder: str) -> None:
        """Notes that a folder bears our owner's mark no longer."""
        self._db.execute("DELETE FROM owner_mark WHERE place = ? AND folder = ?", (place, escape_name(folder)))

    def marks(self) -> list[tuple[str, str]]:
        """Place and folder of every folder that bears our owner's mark."""
        found = self._db.query("SELECT place, folder FROM owner_mark ORDER BY place, folder")
        return [(row["place"], unescape_name(row["folder"])) for row in found]

    def contact(self, endpoint: str, error: str | None, now: datetime) -> None:
        """Notes that an endpoint answered (`error` None) or did not."""
        if error is None:
            self._db.execute(
                "INSERT INTO contact (endpoint, ok_at) VALUES (?, ?) "
                "ON CONFLICT (endpoint) DO UPDATE SET ok_at = excluded.ok_at, failing_since = NULL, error = NULL",
                (endpoint, utc_text(now)),
            )
        else:
            self._db.execute(
                "INSERT INTO contact (endpoint, failing_since, error) VALUES (?, ?, ?) ON CONFLICT (endpoint) "
                "DO UPDATE SET error = excluded.error, failing_since = CASE WHEN "
                "failing_since <= excluded.failing_since THEN failing_since ELSE excluded.failing_since END",
                (endpoint, utc_text(now), error.encode("utf-8", "backslashreplace").decode()),
            )
