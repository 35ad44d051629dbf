"""Claims: how a message comes to be, of a file, of an answer or of the stored bytes of another.

Owns the first row of a `message`, of its `source` and of its Unmodified entry in `log_entry`; what becomes of them is
the ledger's and the other rooms'. Each method joins the caller's transaction or makes its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from ulid import ULID

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.ledger import Ledger
from cegid_daemon.journal.newer import age_of
from cegid_daemon.journal.payloads import Payloads, Staged
from cegid_daemon.journal.rows import Message
from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import INTEGRATION, Route, SourceState, State, escape_name, utc_text


class Claims:
    """New messages."""

    def __init__(self, connection: Connection, payloads: Payloads, ledger: Ledger) -> None:
        self._db = connection
        self._payloads = payloads
        self._ledger = ledger

    def claim(self, taking: Taking, routes: Iterable[Route], logged: Mapping[str, bool], now: datetime) -> list[int]:
        """Makes one message a route of a file, with its Unmodified entry; `logged` is "Log Requests?" by store."""
        with self._db.transaction():
            payload = self._payloads.seal(taking.staged) if taking.staged else None
            source = self._insert_source(taking, now)
            return [
                self._insert_message(route, taking, payload, source, logged=logged[route.store], now=now)
                for route in routes
            ]

    def claim_again(
        self, original: Message, route: Route, *, recipe: int | None, logged: bool, now: datetime, replay_as: str
    ) -> int:
        """Makes a message of the stored bytes of `original`, without a source file: a replay."""
        with self._db.transaction():
            message = self._db.execute(
                "INSERT INTO message (uid, route, store, seq, state, folder, file_name, payload, sha256, size, logged, "
                "recipe, replay_of, replay_as, received_at, redact, age) "
                "VALUES (?, ?, ?, ?, 'received', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    str(ULID()), route.name, route.store, self._next_seq(route.name), escape_name(original.folder),
                    escape_name(original.file_name), original.payload, original.sha256, original.size, logged, recipe,
                    original.id, replay_as, utc_text(now), _redact_text(route) if logged else None,
                    age_of(original) if original.route == route.name else None,
                ),
            ).lastrowid  # fmt: skip
            assert message is not None
            if logged:
                self._insert_unmodified(message, now, route, original.file_name)
            return message

    def claim_answer(
        self, route: Route, file_name: str, staged: Staged, *, logged: bool, now: datetime, answer_to: int | None = None
    ) -> int:
        """Makes a message of what an API answered, without a source file; `answer_to` is the message it answers."""
        with self._db.transaction():
            message = self._db.execute(
                "INSERT INTO message (uid, route, store, seq, state, folder, file_name, payload, sha256, size, logged, "
                "answer_to, received_at, redact) VALUES (?, ?, ?, ?, 'received', '', ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    str(ULID()), route.name, route.store, self._next_seq(route.name), escape_name(file_name),
                    self._payloads.seal(staged), staged.sha256, staged.size, logged, answer_to, utc_text(now),
                    _redact_text(route) if logged else None,
                ),
            ).lastrowid  # fmt: skip
            assert message is not None
            if logged:
                self._insert_unmodified(message, now, route, file_name)
            return message

    def _insert_source(self, taking: Taking, now: datetime) -> int:
        identity = taking.identity
        state = SourceState.FILED if taking.filed_as else SourceState.LYING
        source = self._db.execute(
            "INSERT INTO source (endpoint, place, folder, name, size, mtime_ns, inode, ctime_ns, state, filed_folder, "
            "filed_name, recheck_until, taken_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                taking.endpoint, taking.place, escape_name(taking.folder), escape_name(taking.name), identity.size,
                identity.mtime_ns, identity.inode, identity.ctime_ns, state,
                *map(escape_name, taking.filed_as or ("", "")),
                utc_text(taking.recheck_until) if taking.recheck_until else None, utc_text(now),
            ),
        ).lastrowid  # fmt: skip
        assert source is not None
        return source

    def _insert_message(
        self, route: Route, taking: Taking, payload: int | None, source: int, *, logged: bool, now: datetime
    ) -> int:
        message = self._db.execute(
            "INSERT INTO message (uid, route, store, seq, state, source, folder, file_name, payload, sha256, size, "
            "logged, rewrite_starts, received_at, redact) "
            "VALUES (?, ?, ?, ?, 'received', ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)",
            (
                str(ULID()), route.name, route.store, self._next_seq(route.name), source, escape_name(taking.folder),
                escape_name(taking.name), payload, taking.sha256, taking.identity.size, logged, utc_text(now),
                _redact_text(route) if logged else None,
            ),
        ).lastrowid  # fmt: skip
        assert message is not None
        if taking.hold is not None:
            self._ledger.stop(message, State.HELD, taking.hold)
            self._db.execute("UPDATE message SET lets_pass = 1, rewrite_starts = 0 WHERE id = ?", (message,))
        if taking.after_message is not None:
            self._db.execute(
                "UPDATE message SET age = (SELECT coalesce(max(o.seq), 0) FROM message o WHERE o.route = ? "
                "AND o.id <= ?) WHERE id = ?",
                (route.name, taking.after_message, message),
            )
        if logged:
            self._insert_unmodified(message, now, route, taking.name)
        return message

    def _next_seq(self, route: str) -> int:
        return int(self._db.query("SELECT coalesce(max(seq), 0) + 1 FROM message WHERE route = ?", (route,))[0][0])

    def _insert_unmodified(self, message: int, now: datetime, route: Route, file_name: str) -> None:
        self._db.execute(
            "INSERT INTO log_entry (logged_at, message, store, integration, route, kind, variant, name, endpoint, "
            "file_name, size, sha256, payload) SELECT ?, id, store, ?, ?, ?, 'Unmodified', ?, ?, ?, size, sha256, "
            "payload FROM message WHERE id = ?",
            (
                utc_text(now), INTEGRATION, route.log_route, route.kind, route.title, route.source.endpoint,
                escape_name(file_name), message,
            ),
        )  # fmt: skip


def _redact_text(route: Route) -> str | None:
    """A route's fields to mask, as a message keeps them; None: it has none."""
    return json.dumps(route.log.redact, ensure_ascii=False) if route.log.redact else None
