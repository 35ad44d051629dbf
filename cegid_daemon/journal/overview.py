"""The standing of every route and endpoint at a glance: what is open, what needs a person, who answered last.

Only reads. A message that failed counts until a replay of it exists: from then on the replay does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal import rows
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.newer import age_of, newer_sent
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import unescape_name, utc_text

ASIDE = ("waiting", "held", "unsure", "failed", "refused", "partly refused")
_OLDEST_OPEN = """
    SELECT received_at FROM message INDEXED BY message_due WHERE route = ? AND closed_at IS NULL ORDER BY seq LIMIT 1
"""  # left to itself SQLite goes through every message of the route
_NO_REPLAY = "NOT EXISTS (SELECT 1 FROM message r WHERE r.replay_of = message.id)"
_NOT_DONE = f"state NOT IN ('done') AND state <> 'discarded' AND {_NO_REPLAY}"
_REFUSED = f"state = 'done' AND refusal <> '' AND {_NO_REPLAY}"  # apart, so that each half has its index


@dataclass(frozen=True, slots=True)
class Contact:
    """When an endpoint last answered, or since when it does not. Times are `utc_text`."""

    endpoint: str
    ok_at: str | None
    failing_since: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Remarked:
    """A message whose file is odd but not wrong. Times are `utc_text`."""

    id: int
    route: str
    file_name: str
    received_at: str
    count: int


class Overview:
    """What the status shows of a journal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many messages of each route stand how (`Message.standing`); those done and discarded do not count."""
        # Without the + SQLite reads every message in the order of routes; those not done have an index of their own.
        counts: dict[str, dict[str, int]] = {}
        for where in (_NOT_DONE, _REFUSED):
            found = self._connection.query(
                f"SELECT route, {rows.STANDING}, count(*) FROM message WHERE {where} GROUP BY +route, 2"
            )
            for route, standing, count in found:
                of_route = counts.setdefault(route, {})
                of_route[standing] = of_route.get(standing, 0) + count
        return counts

    def last(self, route: str) -> Message | None:
        """The newest message of a route."""
        return next(iter(self._messages("WHERE route = ? ORDER BY seq DESC LIMIT 1", (route,))), None)

    def open_since(self, route: str) -> str | None:
        """When the oldest message of a route that is not over was received, as `utc_text`."""
        row = self._connection.one(_OLDEST_OPEN, (route,))
        return str(row[0]) if row else None

    def aside(self, limit: int, states: Sequence[str] = ASIDE) -> Sequence[Message]:
        """The oldest messages that are held, unsure, failed or refused, then those that wait; or only some of these."""
        marks = ", ".join("?" * len(states))
        found = [
            message
            for where in (_NOT_DONE, _REFUSED)
            for message in self._messages(
                f"WHERE {where} AND {rows.STANDING} IN ({marks}) ORDER BY state = 'waiting', id LIMIT ?",
                (*states, limit),
            )
        ]
        return sorted(found, key=lambda message: (message.standing == "waiting", message.id))[:limit]

    def rejected(self, limit: int) -> Sequence[Message]:
        """The newest messages of which CEGID put a file into its rejects folder."""
        mine = "id IN (SELECT message FROM rejected_file) AND state = 'done'"
        return self._messages(f"WHERE {mine} AND {_NO_REPLAY} ORDER BY id DESC LIMIT ?", (limit,))

    def remarked(self, since: datetime, limit: int) -> Sequence[Remarked]:
        """The newest messages received since then whose files are odd but not wrong."""
        found = self._connection.query(
            "SELECT id, route, file_name, received_at, remarks FROM message INDEXED BY message_remarks "
            "WHERE remarks > 0 AND received_at >= ? ORDER BY received_at DESC LIMIT ?",
            (utc_text(since), limit),
        )
        return [Remarked(row[0], row[1], unescape_name(row[2]), row[3], row[4]) for row in found]

    def remarks(self) -> Mapping[str, int]:
        """How many remarks the messages of each route have, as far as the journal goes back."""
        found = self._connection.query(
            "SELECT route, sum(remarks) FROM message INDEXED BY message_remarks WHERE remarks > 0 GROUP BY route"
        )
        return {str(route): int(count) for route, count in found}

    def sent_since(self, message: Message) -> int:
        """How many messages of its route with newer values went out (at most 1,000): what sending it goes behind."""
        return newer_sent(self._connection, message.route, age_of(message))

    def contacts(self) -> Sequence[Contact]:
        """What is known of each endpoint."""
        found = self._connection.query("SELECT endpoint, ok_at, failing_since, error FROM contact ORDER BY endpoint")
        return [Contact(*row) for row in found]

    def _messages(self, where: str, params: tuple[object, ...]) -> list[Message]:
        found = self._connection.query(f"SELECT {rows.MESSAGE_COLUMNS} FROM message {where}", params)
        return [rows.message(row) for row in found]
