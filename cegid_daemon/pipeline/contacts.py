"""When each endpoint last answered, or since when it does not: for the status and the console.

Written when it changes, and otherwise at most once a minute.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from cegid_daemon.clock import is_within
from cegid_daemon.errors import JournalUnavailable
from cegid_daemon.journal import Journal

_AT_MOST_EVERY = timedelta(minutes=1)


class Contacts:
    """Last contact by endpoint."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._noted: dict[str, tuple[bool, datetime]] = {}  # endpoint -> worked, when that was written

    def worked(self, endpoint: str, now: datetime) -> None:
        """The endpoint answered."""
        self._note(endpoint, None, now)

    def failed(self, endpoint: str, error: str, now: datetime) -> None:
        """The endpoint did not answer, or not well."""
        self._note(endpoint, error, now)

    def _note(self, endpoint: str, error: str | None, now: datetime) -> None:
        before = self._noted.get(endpoint)
        if before is not None and before[0] == (error is None) and is_within(before[1], _AT_MOST_EVERY, now):
            return
        with contextlib.suppress(JournalUnavailable):  # a full disk is told where it stops messages
            self._journal.places.contact(endpoint, error, now)
            self._noted[endpoint] = (error is None, now)
