"""Retention: forgets payloads and log entries whose days are over, and gives their space back to the disk.

In short transactions, so that deliveries go on meanwhile. Never touches a message that is open, held, unsure or failed,
never the ledger, what was exported, or the history of buffers. Routes without a policy keep everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.search import Search
from cegid_daemon.model import LogPolicy, utc_text

_SLICE = 100  # messages or entries a transaction
_PAGES = 128  # given back at once
_SETTLED = "m.state IN ('done', 'discarded')"
_OLD_PAYLOADS = f"""
    SELECT m.id FROM message m INDEXED BY message_kept
    WHERE m.route = ? AND m.closed_at < ? AND m.payload IS NOT NULL AND {_SETTLED}
    AND (m.id < ? OR m.closed_at >= ?) ORDER BY m.closed_at LIMIT ?
"""
_PAYLOADS_OF = """
    SELECT payload FROM message WHERE id = :id UNION SELECT payload FROM part WHERE message = :id
    UNION SELECT payload FROM log_entry WHERE message = :id UNION SELECT answer FROM attempt WHERE message = :id
"""
_LET_GO = (
    "UPDATE message SET payload = NULL WHERE id = ?",
    "UPDATE part SET payload = NULL WHERE message = ?",
    "UPDATE log_entry SET payload = NULL WHERE message = ?",
    "UPDATE attempt SET answer = NULL WHERE message = ?",
)
_OLD_ENTRIES = f"""
    SELECT e.id, e.message FROM log_entry e JOIN message m ON m.id = e.message
    WHERE e.route = ? AND e.id > ? AND e.id <= ? AND e.logged_at < ? AND {_SETTLED}
    AND (m.id < ? OR e.logged_at >= ?) ORDER BY e.id LIMIT ?
"""
_FIRST_RECENT = "SELECT min(id) FROM message INDEXED BY message_received WHERE received_at BETWEEN ? AND ?"
_NONE_RECENT = 1 << 62
_LONG_BEFORE_DAYS = 365  # what is stamped so long before its neighbours was stamped by a clock that was behind

_Credible = tuple[int, str]  # the first message whose neighbours are recent; the time from which its own is believed

GoOn = Callable[[], bool]


@dataclass(slots=True)
class PruneReport:
    """What a pruning did."""

    messages: int = 0  # whose payloads were let go
    payloads: int = 0  # contents nobody referred to any more
    entries: int = 0
    freed: int = 0  # bytes given back to the disk

    def __str__(self) -> str:
        return (
            f"{self.payloads} contents of {self.messages} messages let go, {self.entries} entries removed, "
            f"{self.freed} bytes given back"
        )


class Retention:
    """The housekeeping of the journal."""

    def __init__(self, connection: Connection, payloads: Payloads, search: Search) -> None:
        self._connection = connection
        self._payloads = payloads
        self._search = search

    def prune(self, now: datetime, policies: Mapping[str, LogPolicy], *, go_on: GoOn = lambda: True) -> PruneReport:
        """Applies each route's policy. `go_on` is asked between slices; what is left then is pruned the next time."""
        report = PruneReport()
        recent: dict[str, _Credible] = {}
        for route, policy in policies.items():
            for days, prune in ((policy.payload_days, self._prune_payloads), (policy.entry_days, self._prune_entries)):
                if days is not None:
                    before = _days_before(now, days)
                    if before not in recent:
                        recent[before] = (self._first_recent(before, now), _days_before(now, days + _LONG_BEFORE_DAYS))
                    prune(route, before, recent[before], report, go_on)
        if report.payloads:
            self._search.words.compact(go_on)
        report.freed = self._shrink(go_on)
        return report

    def _first_recent(self, before: str, now: datetime) -> int:
        """The first message that came since: those behind it are no older, although their times may say so."""
        row = self._connection.one(_FIRST_RECENT, (before, utc_text(now)))
        return int(row[0]) if row is not None and row[0] is not None else _NONE_RECENT

    def _prune_payloads(self, route: str, before: str, credible: _Credible, report: PruneReport, go_on: GoOn) -> None:
        while go_on():
            found = self._connection.query(_OLD_PAYLOADS, (route, before, *credible, _SLICE))
            for row in found:
                self._let_go(row["id"], report)
            report.messages += len(found)
            if len(found) < _SLICE:
                return

    def _let_go(self, message: int, report: PruneReport) -> None:
        with self._connection.transaction():
            held = self._connection.query(_PAYLOADS_OF, {"id": message})
            for statement in _LET_GO:
                self._connection.execute(statement, (message,))
            report.payloads += self._payloads.forget(row[0] for row in held if row[0] is not None)

    def _prune_entries(self, route: str, before: str, credible: _Credible, report: PruneReport, go_on: GoOn) -> None:
        last = self._last_entry(before)
        at = 0
        while go_on():
            found = self._connection.query(_OLD_ENTRIES, (route, at, last, before, *credible, _SLICE))
            with self._connection.transaction():
                for row in found:
                    self._connection.execute("DELETE FROM log_entry WHERE id = ?", (row["id"],))
                for message in {row["message"] for row in found}:
                    self._search.forget(message)
            report.entries += len(found)
            if len(found) < _SLICE:
                return
            at = found[-1]["id"]

    def _last_entry(self, before: str) -> int:
        row = self._connection.one(
            "SELECT id FROM log_entry WHERE logged_at < ? ORDER BY logged_at DESC, id DESC LIMIT 1", (before,)
        )
        return int(row["id"]) if row else 0

    def _shrink(self, go_on: GoOn) -> int:
        """Gives free pages back, a few at a time. How many bytes."""
        size = self._pragma("page_size")
        before = free = self._pragma("freelist_count")
        last = free + 1
        while 0 < free < last and go_on():
            self._connection.give_back_pages(_PAGES)
            last, free = free, self._pragma("freelist_count")
        self._connection.checkpoint()
        return (before - free) * size

    def _pragma(self, name: str) -> int:
        row = self._connection.one(f"PRAGMA {name}")
        return int(row[0]) if row else 0


def _days_before(now: datetime, days: int) -> str:
    return utc_text(now - timedelta(days=days))
