"""The ledger: every message from its claim to its end, and what was tried and decided about it.

Owns the tables `message` (whose rows `claims` makes), `attempt` and `decision`. Each method joins the caller's
transaction or makes its own; none decides anything: the pipeline decides, the ledger keeps.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ulid import ULID

from cegid_daemon.journal import rows
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.newer import WENT_OUT
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Fault, State, utc_text


class Ledger:
    """The messages."""

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self._db = connection
        self._payloads = payloads

    def instance(self) -> str:
        """The short name of this journal, part of every temporary name; chosen once."""
        self._db.execute("INSERT OR IGNORE INTO about (key, value) VALUES ('instance', ?)", (str(ULID())[-8:].lower(),))
        return str(self._value("SELECT value FROM about WHERE key = 'instance'"))

    def known_instance(self) -> str:
        """As `instance`; blank where none was chosen yet. For those who only read."""
        row = self._db.one("SELECT value FROM about WHERE key = 'instance'")
        return str(row[0]) if row else ""

    def _value(self, sql: str, params: Sequence[object] = ()) -> Any:
        return self._db.query(sql, params)[0][0]

    def message(self, message: int) -> Message | None:
        """One message, or None."""
        return next(iter(self._messages("WHERE id = ?", (message,))), None)

    def messages(self, ids: Sequence[int]) -> list[Message]:
        """The open messages among `ids` (at most a few hundred), in the order of their ids."""
        marks = ", ".join("?" * len(ids))
        return self._messages(f"WHERE id IN ({marks}) AND closed_at IS NULL ORDER BY id", ids)

    def open_messages(self, route: str, limit: int) -> list[Message]:
        """The messages of a route still to be carried, oldest first.

        Without those that are delivered and only to be filed, and those that are held and let others pass.
        """
        return self._messages(
            "WHERE route = ? AND closed_at IS NULL AND state <> 'delivered' "
            "AND (state <> 'held' OR lets_pass = 0) ORDER BY seq LIMIT ?",
            (route, limit),
        )

    def held_aside(self, routes: Collection[str]) -> list[Message]:
        """The messages of these routes that are held for a person while those behind them go on."""
        return self._messages(
            "WHERE state NOT IN ('done') AND state = 'held' AND lets_pass = 1 "  # the first term names the index
            f"AND route IN ({_marks(routes)}) ORDER BY id",
            tuple(routes),
        )

    def delivered_after(self, routes: Collection[str], message: int) -> int:
        """How many messages of these routes with a larger id went out, wholly or in part, or go out next.

        A replay is as old as what it replays.
        """
        return int(
            self._value(
                "SELECT count(*) FROM message m WHERE m.id > ? AND coalesce(m.replay_of, m.id) > ? "
                f"AND m.route IN ({_marks(routes)}) AND (m.closed_at IS NULL "
                f"AND (m.state <> 'held' OR m.lets_pass = 0) OR {WENT_OUT})",
                (message, message, *routes),
            )
        )

    def of_source(self, source: int) -> list[Message]:
        """The messages made of one source file."""
        return self._messages("WHERE source = ? ORDER BY id", (source,))

    def unclosed(self, routes: Collection[str]) -> list[int]:
        """Delivered messages of these routes that wait for no file to be filed away, and are not closed yet."""
        found = self._db.query(
            f"SELECT m.id FROM message m LEFT JOIN source s ON s.id = m.source WHERE m.route IN ({_marks(routes)}) "
            "AND m.closed_at IS NULL AND m.state = 'delivered' AND coalesce(s.state NOT IN ('lying', 'filing'), 1)",
            tuple(routes),
        )
        return [int(row[0]) for row in found]

    def open_routes(self) -> dict[str, int]:
        """How many messages are open, by route; for the status and for routes no longer configured."""
        found = self._db.query("SELECT route, count(*) FROM message WHERE closed_at IS NULL GROUP BY route")
        return dict(map(tuple, found))

    def _messages(self, where: str, params: Sequence[object]) -> list[Message]:
        found = self._db.query(f"SELECT {rows.MESSAGE_COLUMNS} FROM message {where}", params)
        return [rows.message(row) for row in found]

    def start_rewriting(self, messages: Collection[int]) -> None:
        """Counts one more start of the rewriting, durably, before it begins."""
        with self._db.transaction():
            self._db.executemany(
                "UPDATE message SET rewrite_starts = rewrite_starts + 1 WHERE id = ?", [(id_,) for id_ in messages]
            )

    def start_rewriting_again(self, message: int, fault: Fault, *, now: datetime, next_try_at: datetime) -> None:
        """As `start_rewriting`, of one whose last start was cut off: should this one be too, it waits until then."""
        with self._db.transaction():
            self._aside(message, State.WAITING, fault)
            self._db.execute(
                "UPDATE message SET rewrite_starts = rewrite_starts + 1, next_try_at = ?, "
                "rewrite_since = CASE WHEN rewrite_since <= ? THEN rewrite_since ELSE ? END WHERE id = ?",
                (utc_text(next_try_at), utc_text(now), utc_text(now), message),
            )

    def take_start_back(self, messages: Collection[int]) -> None:
        """A start came to nothing, but was not cut off: it may be made again at once."""
        with self._db.transaction():
            self._db.executemany(
                "UPDATE message SET rewrite_starts = rewrite_starts - 1, next_try_at = NULL WHERE id = ?",
                [(id_,) for id_ in messages],
            )

    def set_state(self, message: int, state: State) -> None:
        """Moves a message on; what it waited for is forgotten."""
        self._db.execute(
            "UPDATE message SET state = ?, tries = 0, next_try_at = NULL, first_failed_at = NULL, error = NULL "
            "WHERE id = ?",
            (state, message),
        )

    def wait(self, message: Message, fault: Fault, *, now: datetime, next_try_at: datetime) -> None:
        """The message will be tried again by itself at `next_try_at`. A first failure later than now counts as now."""
        self._aside(message.id, State.WAITING, fault)
        first = now if message.first_failed_at is None else min(message.first_failed_at, now)
        self._db.execute(
            "UPDATE message SET tries = tries + 1, wait_began_at = ?, next_try_at = ?, first_failed_at = ? "
            "WHERE id = ?",
            (utc_text(now), utc_text(next_try_at), utc_text(first), message.id),
        )

    def stop(self, message: int, state: State, fault: Fault) -> None:
        """The message needs a person: `unsure` or `held`; it stays open and blocks those behind it."""
        self._aside(message, state, fault)

    def hold_overtaken(self, message: int, fault: Fault) -> None:
        """Newer ones went out before this one, through no decision: a person decides, and those behind it go on."""
        self._aside(message, State.HELD, fault)
        self._db.execute("UPDATE message SET lets_pass = 1, next_try_at = NULL WHERE id = ?", (message,))

    def fail(self, message: int, fault: Fault, now: datetime, coverage: str | None = None) -> None:
        """A person repairs, then replays; the message is closed and blocks nobody."""
        self._aside(message, State.FAILED, fault)
        self._db.execute(
            "UPDATE message SET closed_at = ?, coverage = coalesce(?, coverage) WHERE id = ?",
            (utc_text(now), coverage, message),
        )

    def close(self, messages: Collection[int], state: State, now: datetime) -> None:
        """The messages are at their end; payloads of unlogged ones are dropped with them."""
        for message in messages:
            self._db.execute(
                "UPDATE message SET state = ?, closed_at = ?, next_try_at = NULL, "
                "error = CASE WHEN refusal = '' THEN NULL ELSE error END WHERE id = ?",
                (state, utc_text(now), message),
            )
            self._drop_unlogged(message)

    def discard(self, message: int, fault: Fault, now: datetime) -> None:
        """A person has closed the message without sending what was left of it; `fault` says who and why."""
        self.close([message], State.DISCARDED, now)
        self._aside(message, State.DISCARDED, fault)

    def discarded(self, messages: Collection[int]) -> set[int]:
        """Those of some messages that a person has discarded."""
        found = self._db.query(
            f"SELECT id FROM message WHERE id IN ({_marks(messages)}) AND state = 'discarded'", tuple(messages)
        )
        return {int(row[0]) for row in found}

    def arrived_after_all(self, message: int, now: datetime) -> None:
        """A discarded message had arrived before it could be withdrawn: it is delivered, and its file is filed away."""
        self._db.execute(
            "UPDATE message SET state = 'delivered', closed_at = NULL, error = NULL "
            "WHERE id = ? AND state = 'discarded'",
            (message,),
        )
        self.note(message, "discard", "too late", "everything had arrived before it could be withdrawn", now)

    def _drop_unlogged(self, message: int) -> None:
        row = self._db.query("SELECT logged, payload FROM message WHERE id = ?", (message,))[0]
        if row["logged"]:
            return
        parts = self._db.query(
            "SELECT payload FROM part WHERE message = ? UNION SELECT answer FROM attempt WHERE message = ?",
            (message, message),
        )
        self._db.execute("UPDATE message SET payload = NULL WHERE id = ?", (message,))
        self._db.execute("UPDATE part SET payload = NULL WHERE message = ?", (message,))
        self._db.execute("UPDATE attempt SET answer = NULL WHERE message = ?", (message,))
        self._payloads.forget([part[0] for part in parts if part[0]] + ([row["payload"]] if row["payload"] else []))

    def _aside(self, message: int, state: State, fault: Fault) -> None:
        text = json.dumps({**asdict(fault), "text": str(fault)}, ensure_ascii=True)
        self._db.execute("UPDATE message SET state = ?, error = ? WHERE id = ?", (state, text, message))

    def note(
        self, message: int, step: str, outcome: str, detail: str, now: datetime, delivery: int | None = None
    ) -> None:
        """Keeps what was tried and what came of it."""
        self._db.execute(
            "INSERT INTO attempt (at, message, delivery, step, outcome, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (utc_text(now), message, delivery, step, outcome, detail.encode("utf-8", "backslashreplace").decode()),
        )

    def decide(self, what: str, message: int, *, who: str, reason: str, now: datetime) -> None:
        """Keeps what a person decided."""
        self._db.execute(
            "INSERT INTO decision (at, who, what, message, reason) VALUES (?, ?, ?, ?, ?)",
            (utc_text(now), who, what, message, reason),
        )


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
