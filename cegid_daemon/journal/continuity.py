"""Whether the journal goes on where it was: an older copy in its place, or a write-ahead log that was removed.

Reads what `commits` kept when it found the journal behind its marker, and the stamp that a backup bears. Holds the open
messages of a journal that was taken back, for they may have been delivered since; reporting it is the caller's affair.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from cegid_daemon.journal.commits import TAKEN_BACK
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.ledger import Ledger
from cegid_daemon.journal.marker import read_marker
from cegid_daemon.model import Fault, State, utc_moment

BACKUP_STAMP = "backup_made_at"  # the key in `about` of a copy


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A journal that does not go on where it was."""

    commits: int | None  # that it lacks; None: nobody knows
    until: datetime | None  # when the last of them was made
    has_log: bool  # a write-ahead log was beside it
    backup_made_at: datetime | None  # it is a backup


class Continuity:
    """What is known of the journal's own past."""

    def __init__(self, connection: Connection, ledger: Ledger) -> None:
        self._db = connection
        self._ledger = ledger

    def taken_back(self) -> TakenBack | None:
        """What was found and is not settled yet."""
        known, stamp = self._about(TAKEN_BACK), self._about(BACKUP_STAMP)
        made_at = utc_moment(stamp) if stamp else None
        if known is None:
            return TakenBack(None, None, False, made_at) if made_at else None
        told = json.loads(known)
        remembered, found = told["remembered"], told["found"]
        same = remembered["generation"] == found["generation"]
        return TakenBack(
            remembered["commits"] - found["commits"] if same else None,
            datetime.fromtimestamp(told["remembered_at"], UTC), told["wal"], made_at,
        )  # fmt: skip

    def is_behind(self) -> bool:
        """Whether the marker remembers more than the journal has; for a connection that only reads."""
        remembered = read_marker(self._db.path)  # first: what is remembered is in the journal by then
        found = self._db.query("SELECT generation, commits FROM journal_progress")[0]
        if self._about(TAKEN_BACK) is not None or self._about(BACKUP_STAMP) is not None:
            return True
        return remembered is not None and (remembered.generation != found[0] or remembered.commits > found[1])

    def newest_entry(self) -> datetime | None:
        """The last thing the journal knows."""
        row = self._db.query("SELECT max(logged_at) FROM log_entry")[0]
        return utc_moment(row[0]) if row[0] else None

    def settle(self, fault: Fault) -> list[int]:
        """Holds every open message that is still to be sent, and forgets what was found. Those behind them go on."""
        with self._db.transaction():
            found = self._db.query(
                "SELECT id FROM message WHERE closed_at IS NULL AND state NOT IN ('delivered', 'held', 'unsure')"
            )
            held = [int(row[0]) for row in found]
            for message in held:
                self._ledger.stop(message, State.HELD, fault)
            self._db.executemany("UPDATE message SET lets_pass = 1 WHERE id = ?", [(message,) for message in held])
            self._db.execute("DELETE FROM about WHERE key IN (?, ?)", (TAKEN_BACK, BACKUP_STAMP))
        return held

    def _about(self, key: str) -> str | None:
        row = self._db.one("SELECT value FROM about WHERE key = ?", (key,))
        return str(row[0]) if row is not None else None
