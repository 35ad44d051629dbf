"""What each server said of itself when it was last asked: its card, so that a change of server is noticed.

Owns the table `server_card`. Compares nothing and asks nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_moment, utc_text


@dataclass(frozen=True, slots=True)
class KeptCard:
    """A card as it was kept: what the server says of itself, what a round trip showed, and when."""

    facts: Mapping[str, str]
    tried: Mapping[str, str]
    seen_at: datetime


class Cards:
    """The cards, by the place (`Endpoint.where`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def card(self, place: str) -> KeptCard | None:
        """The card of a place; None if it was never asked."""
        row = self._connection.one("SELECT facts, tried, seen_at FROM server_card WHERE place = ?", (place,))
        return KeptCard(json.loads(row[0]), json.loads(row[1]), utc_moment(row[2])) if row else None

    def keep(self, place: str, facts: Mapping[str, str], tried: Mapping[str, str] | None, now: datetime) -> None:
        """Keeps what was found in place of what was kept; `tried` None: no round trip was made, the last one stands."""
        self._connection.execute(
            "INSERT INTO server_card (place, facts, tried, seen_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (place) DO UPDATE SET facts = excluded.facts, seen_at = excluded.seen_at, "
            "tried = CASE WHEN ? THEN excluded.tried ELSE tried END",
            (place, json.dumps(dict(facts)), json.dumps(dict(tried or {})), utc_text(now), tried is not None),
        )
