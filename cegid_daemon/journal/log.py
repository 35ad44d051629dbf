"""The API Integration Log as operators read it: entries by filter and page, and everything known about one message.

Only reads. Names come out escaped, as they are stored and shown (`model.unescape_name` gives the real one); times are
`utc_text`. What is in the ledger is written elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cegid_daemon.errors import Refused
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.newer import newer_sent
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.model import utc_text

_COLUMNS = (
    "id, logged_at, store, integration, route, message_id, kind, variant, name, part, endpoint, file_name, size, "
    "sha256, outcome, error"
)
_ENTRY = f"SELECT {_COLUMNS}, (SELECT e.payload FROM log_entry e WHERE e.id = v.id) FROM api_integration_log v"
_MESSAGE = """
    SELECT m.*, s.endpoint AS source_endpoint, s.folder AS source_folder, s.name AS source_name,
           s.state AS source_state, s.filed_folder, s.filed_name, r.sha256 AS recipe_sha256
    FROM message m LEFT JOIN source s ON s.id = m.source LEFT JOIN recipe r ON r.id = m.recipe WHERE m.id = ?
"""
_ROWS_OF_MESSAGE = {
    "parts": "SELECT no, size, sha256, records, payload FROM part WHERE message = ? ORDER BY no",
    "deliveries": (
        "SELECT p.no AS part, d.endpoint, d.place, d.folder, d.name, d.state, d.delivered_at, d.request_uid, "
        "f.requests, f.refused, coalesce(f.extent, '') AS refusal "
        "FROM delivery d JOIN part p ON p.id = d.part LEFT JOIN refusal f ON f.delivery = d.id "
        "WHERE d.message = ? ORDER BY p.no, d.id"
    ),
    "attempts": "SELECT at, step, outcome, detail, delivery FROM attempt WHERE message = ? ORDER BY id",
    "decisions": "SELECT at, who, what, reason FROM decision WHERE message = ? ORDER BY id",
    "answers": "SELECT id, state, received_at FROM message WHERE answer_to = ? ORDER BY id",
    "replays": "SELECT id, state, replay_as, received_at FROM message WHERE replay_of = ? ORDER BY id",
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A row of the view `api_integration_log`, and the payload behind it (None: not kept)."""

    id: int
    logged_at: str
    store: str
    integration: str
    route: str
    message_id: int
    kind: str
    variant: str
    name: str
    part: int | None
    endpoint: str
    file_name: str
    size: int
    sha256: str
    outcome: str
    error: str | None
    payload: int | None


class LogBook:
    """The log room of the journal."""

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self._connection = connection
        self._payloads = payloads

    def entries(
        self, *, store: str | None = None, route: str | None = None, variant: str | None = None,
        kind: str | None = None, outcome: str | None = None, since: datetime | None = None,
        until: datetime | None = None, before_id: int | None = None, after_id: int | None = None,
        limit: int = 100, newest_first: bool = True,
    ) -> Sequence[LogEntry]:  # fmt: skip
        """One page of entries; the next one is asked for by the last id (`before_id`, or `after_id` oldest first).

        `since` is inside, `until` outside of the time asked for.
        """
        wanted = {
            "store = ?": store, "route = ?": route, "variant = ?": variant, "kind = ?": kind, "outcome = ?": outcome,
            "logged_at >= ?": utc_text(since) if since else None, "logged_at < ?": utc_text(until) if until else None,
            "id < ?": before_id, "id > ?": after_id,
        }  # fmt: skip
        chosen = {clause: value for clause, value in wanted.items() if value is not None}
        where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
        sql = f"{_ENTRY} {where} ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
        return [LogEntry(*row) for row in self._connection.query(sql, (*chosen.values(), limit))]

    def entry(self, entry: int) -> LogEntry | None:
        """One entry, or None."""
        row = self._connection.one(f"{_ENTRY} WHERE id = ?", (entry,))
        return LogEntry(*row) if row else None

    def of_message(self, message: int) -> Sequence[LogEntry]:
        """The entries of a message: the Unmodified one, then its Modified partners."""
        return [
            LogEntry(*row) for row in self._connection.query(f"{_ENTRY} WHERE message_id = ? ORDER BY id", (message,))
        ]

    def refusals(self, message: int) -> list[str]:
        """What the receiver's answers to a message refused, a text each."""
        found = self._connection.query(
            "SELECT detail FROM attempt WHERE message = ? AND step = 'answer' AND outcome = 'refused' ORDER BY id",
            (message,),
        )
        return [str(row[0]) for row in found]

    def message(self, message: int) -> Mapping[str, Any] | None:
        """Everything known about a message, ready for JSON; None if there is none.

        The columns of the table, `coverage` and `error` as objects, `source` (with `filed_as`), and the lists `parts`,
        `deliveries`, `attempts`, `decisions`, `answers`, `replays`, `entries` (ids); `newer_sent`: how many messages of
        its route with newer values went out since (of one that is done: before it).
        """
        row = self._connection.one(_MESSAGE, (message,))
        if row is None:
            return None
        known = dict(row)
        known["coverage"] = {**_SELDOM, **json.loads(known["coverage"])} if known["coverage"] else None
        known["error"] = json.loads(known["error"]) if known["error"] else None
        known["source"] = _source(known)
        for name, sql in _ROWS_OF_MESSAGE.items():
            known[name] = [dict(found) for found in self._connection.query(sql, (message,))]
        known["newer_sent"] = self._newer_sent(known)
        known["entries"] = [entry.id for entry in self.of_message(message)]
        return known

    def _newer_sent(self, known: Mapping[str, Any]) -> int:
        """Of one that is over: how many newer ones went out before it. Else how many did since it came."""
        age = known["seq"] if known["age"] is None else known["age"]
        return newer_sent(
            self._connection, known["route"], age, known["seq"] if known["state"] in ("delivered", "done") else None
        )

    def payload_of(self, entry: LogEntry) -> Iterator[bytes]:
        """The exact bytes of an entry, at most 1 MiB at a time. Raises Refused if they are no longer kept."""
        if entry.payload is None:
            raise Refused(
                f"the bytes of entry {entry.id} are no longer kept",
                why="the days of its payload were over, or the file was larger than max_size",
                remedy="Look for the file in processed/ or failed/ of its route, or lengthen `payload_days`.",
            )
        return self._payloads.read(entry.payload)


_SELDOM: Mapping[str, Any] = {"remarks": [], "skipped": [], "encoding": ""}  # of a coverage; stored where there is some


def _source(known: dict[str, Any]) -> dict[str, Any] | None:
    """Takes the columns of the source out of a message's, as an object of their own."""
    fields = ("endpoint", "folder", "name", "state")
    source = {name: known.pop(f"source_{name}") for name in fields}
    folder, name = known.pop("filed_folder"), known.pop("filed_name")
    if known["source"] is None:
        return None
    return {**source, "filed_as": "/".join(part for part in (folder, name) if part)}
