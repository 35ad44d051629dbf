"""Failures in a row: one line when it begins, one now and then while it lasts, one when it heals.

Owns the back-off of places that do not answer. Pure but for the log; `now` is handed in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from cegid_daemon.clock import is_within
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.model import RetryPolicy

log = logging.getLogger(__name__)

_SAY_AGAIN = timedelta(minutes=10)


@dataclass(slots=True)
class _Row:
    since: datetime
    said_at: datetime
    text: str
    times: int = 1
    noted_at: datetime | None = None
    next_try_at: datetime | None = None


class Troubles:
    """What is failing now, by subject (`"source inbox/inventory"`)."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def failed(self, subject: str, error: CegidDaemonError, policy: RetryPolicy, now: datetime) -> datetime:
        """Notes one more failure; returns when to try again."""
        text = str(error)
        row = self._rows.get(subject)
        if row is None:
            row = self._rows[subject] = _Row(now, now, text)
            log.warning("%s: %s", subject, text)
        else:
            row.times += 1
            row.since = min(row.since, now)  # it may have begun by a clock that was ahead
            if text != row.text or not is_within(row.said_at, _SAY_AGAIN, now):
                log.warning(
                    "%s: still failing after %d tries since %s: %s", subject, row.times, _clock(row.since), text
                )
                row.said_at, row.text = now, text
        row.noted_at = now
        row.next_try_at = now + policy.pause(row.times)
        return row.next_try_at

    def due(self, subject: str, now: datetime) -> bool:
        """Whether it is time to try again; True for what is not failing, and where the clock was set back."""
        row = self._rows.get(subject)
        if row is None or row.next_try_at is None or row.noted_at is None:
            return True
        return row.next_try_at <= now or row.noted_at > now

    def worked(self, subject: str) -> None:
        """Notes a success; if there was trouble, says that it is over."""
        row = self._rows.pop(subject, None)
        if row is not None:
            log.warning("%s: recovered after %d failed tries since %s", subject, row.times, _clock(row.since))

    def forget(self, subject: str) -> None:
        """The subject is no more, and so neither is its trouble."""
        self._rows.pop(subject, None)

    def current(self) -> dict[str, str]:
        """What is failing now, with its reason."""
        return {subject: row.text for subject, row in list(self._rows.items())}


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
