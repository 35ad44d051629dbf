"""What is known of places: which folders were made, when each endpoint last answered.

Owns the tables `folder_made` and `contact`. Makes no folder and asks no endpoint.
"""

from __future__ import annotations

from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import escape_name, utc_text


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
                "DO UPDATE SET failing_since = coalesce(failing_since, excluded.failing_since), error = excluded.error",
                (endpoint, utc_text(now), error.encode("utf-8", "backslashreplace").decode()),
            )
