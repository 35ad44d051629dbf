"""Pages of the API Integration Log, whatever the filter, in a bounded time.

Owns how a filter meets the indexes: ids are found first (by message, by route, or newest first), then their rows are
read and the outcome is looked at. A page that had to stop before it was full says how far it looked. Only reads.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.log import LogEntry
from cegid_daemon.journal.sorting import FEW, Sorting, Stretch
from cegid_daemon.model import utc_text

_FEW_ASIDE = 5_000  # messages not done: up to here their entries are looked up one by one
_BATCH = 400  # ids whose rows are read at once
_CLOCK_SLACK = 1_000  # entries that may stand out of order by a clock that was set back
_ROWS = """
    SELECT v.id, v.logged_at, v.store, v.integration, v.route, v.message_id, v.kind, v.variant, v.name, v.part,
           v.endpoint, v.file_name, v.size, v.sha256, v.outcome, v.error, e.payload
    FROM api_integration_log v JOIN log_entry e ON e.id = v.id WHERE v.id IN (SELECT value FROM json_each(?))
"""
_ROUTES = """
    WITH RECURSIVE known (route) AS (
        SELECT min(route) FROM log_entry
        UNION ALL SELECT (SELECT min(route) FROM log_entry WHERE route > known.route) FROM known WHERE route IS NOT NULL
    ) SELECT route FROM known WHERE route IS NOT NULL
"""
_ENDS = """
    SELECT store, kind FROM log_entry WHERE id = (SELECT min(id) FROM log_entry WHERE route = :route)
    UNION SELECT store, kind FROM log_entry WHERE id = (SELECT max(id) FROM log_entry WHERE route = :route)
"""
_ASIDE = """
    SELECT id FROM message WHERE state NOT IN ('done') AND state <> 'delivered' LIMIT ?
"""
_REFUSED = "SELECT id FROM message WHERE refusal <> '' LIMIT ?"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What entries are asked for; None = any. `since` is inside, `until` outside of the time asked for."""

    store: str | None = None
    route: str | None = None
    kind: str | None = None
    variant: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    messages: tuple[int, ...] | None = None  # entries of these messages only

    def columns(self) -> dict[str, str]:
        """The columns that must equal a value."""
        named = {"store": self.store, "route": self.route, "kind": self.kind, "variant": self.variant}
        return {column: value for column, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, and how to go on: the last id looked at (None: there are no more).

    `ended_early`: time was up before the page was full; going on may find more.
    """

    entries: Sequence[LogEntry]
    go_on: int | None = None
    ended_early: bool = False


class Pages:
    """Pages of the log, by time, by size or by name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def routes(self) -> list[str]:
        """Every route that has entries."""
        return [row[0] for row in self._connection.query(_ROUTES)]

    def page(
        self, wanted: Wanted, *, limit: int, behind: int | None = None, newest_first: bool = True, by: str = "time",
        go_on: Callable[[], bool] = lambda: True,
    ) -> Page:  # fmt: skip
        """At most `limit` entries behind the entry `behind`; `go_on` is asked between two batches.

        `by`: time, size or name; `newest_first` is the largest first, or from z to a.
        """
        found: list[LogEntry] = []
        for batch, last in self._batches(wanted, behind, limit, newest_first, by):
            for entry in self._rows(batch):
                if wanted.outcome is not None and entry.outcome != wanted.outcome:
                    continue
                if len(found) == limit:
                    return Page(found, found[-1].id)
                found.append(entry)
            if not go_on():
                return Page(found, last, ended_early=True)
        return Page(found)

    def _batches(
        self, wanted: Wanted, behind: int | None, limit: int, newest_first: bool, by: str
    ) -> Iterator[Stretch]:
        """Ids that fit in all but the outcome, a few at a time, each with the last one looked at."""
        few = min(_BATCH, limit + 1) if wanted.outcome is None else _BATCH
        if by == "time":
            ids = self._ids(wanted, behind, limit, newest_first)
            while batch := list(islice(ids, few)):
                yield batch, batch[-1]
            return
        for fitting, last in self._sorted(wanted, behind, newest_first, by):
            for start in range(0, len(fitting), few):
                batch = list(fitting[start : start + few])
                yield batch, batch[-1]
            if not fitting or fitting[-1] != last:
                yield [], last

    def _sorted(self, wanted: Wanted, behind: int | None, downwards: bool, by: str) -> Iterator[Stretch]:
        clause, values = _columns_clause(wanted)
        if wanted.route is not None:
            clause, values = f"route = ? AND {clause}", (wanted.route, *values)
        sorting = Sorting(self._connection, by, downwards, f"({clause} 1)", values)
        ids = self._few(wanted)
        return sorting.few(ids, behind) if ids is not None else sorting.walk(behind)

    def _few(self, wanted: Wanted) -> list[int] | None:
        """The ids that fit in all but the outcome, if they are few enough to be sorted; None: they may be many."""
        if wanted.messages is not None or self._few_aside(wanted.outcome) is not None:
            return list(self._ids(wanted, None, FEW, newest_first=True))
        low, high = self._bounds(wanted)
        if not self._are_few(wanted.route, low, high):
            return None
        more = ("", ()) if wanted.route is None else ("route = ? AND", (wanted.route,))
        return list(_Search(self._connection, *_columns_clause(wanted), low, high, True, FEW).run(*more))

    def _are_few(self, route: str | None, low: int, high: int) -> bool:
        of_route, values = ("", ()) if route is None else ("route = ? AND", (route,))
        sql = f"SELECT count(*) FROM (SELECT 1 FROM log_entry WHERE {of_route} id >= ? AND id < ? LIMIT {FEW + 1})"
        return bool(self._connection.query(sql, (*values, low, high))[0][0] <= FEW)

    def _rows(self, ids: Sequence[int]) -> list[LogEntry]:
        rows = {row["id"]: LogEntry(*row) for row in self._connection.query(_ROWS, (json.dumps(ids),))}
        return [rows[id_] for id_ in ids if id_ in rows]

    def _ids(self, wanted: Wanted, behind: int | None, limit: int, newest_first: bool) -> Iterator[int]:
        """The ids of entries that fit in all but the outcome, in order."""
        low, high = self._bounds(wanted)
        if behind is not None:
            low, high = (low, min(high, behind)) if newest_first else (max(low, behind + 1), high)
        clause, values = _columns_clause(wanted)
        search = _Search(self._connection, clause, values, low, high, newest_first, max(limit + 1, _BATCH))
        messages = wanted.messages if wanted.messages is not None else self._few_aside(wanted.outcome)
        if messages is not None:
            return search.of_messages(messages, wanted.route)
        routes = self._routes_for(wanted)
        if routes is None:
            return search.run("", ())
        found = [search.run("route = ? AND", (route,)) for route in routes]
        return heapq.merge(*found, reverse=newest_first)

    def _bounds(self, wanted: Wanted) -> tuple[int, int]:
        """The ids between which the wanted time lies, with some slack."""
        low, high = 0, 1 << 62
        if wanted.since:
            sql = "SELECT id FROM log_entry WHERE logged_at >= ? ORDER BY logged_at LIMIT 1"
            row = self._connection.one(sql, (utc_text(wanted.since),))
            low = row[0] - _CLOCK_SLACK if row else high
        if wanted.until:
            sql = "SELECT id FROM log_entry WHERE logged_at < ? ORDER BY logged_at DESC LIMIT 1"
            row = self._connection.one(sql, (utc_text(wanted.until),))
            high = row[0] + _CLOCK_SLACK if row else low
        return low, high

    def _few_aside(self, outcome: str | None) -> tuple[int, ...] | None:
        """The messages an outcome other than `ok` can belong to, if they are few."""
        if outcome is None or outcome == "ok":
            return None
        found = self._connection.query(_REFUSED if "refused" in outcome else _ASIDE, (_FEW_ASIDE + 1,))
        return tuple(row[0] for row in found) if len(found) <= _FEW_ASIDE else None

    def _routes_for(self, wanted: Wanted) -> list[str] | None:
        """The routes whose entries can fit; None: any, or nearly any."""
        if wanted.route is not None:
            return [wanted.route]
        if wanted.store is None and wanted.kind is None:
            return None
        return [route for route in self.routes() if self._can_fit(route, wanted)]

    def _can_fit(self, route: str, wanted: Wanted) -> bool:
        ends = self._connection.query(_ENDS, {"route": route})
        stores, kinds = {row["store"] for row in ends}, {row["kind"] for row in ends}
        return (wanted.store in (None, *stores)) and (wanted.kind in (None, *kinds))


@dataclass(frozen=True, slots=True)
class _Search:
    """Ids of entries that fit some columns, between two ids, read by the batch."""

    connection: Connection
    clause: str
    values: tuple[str, ...]
    low: int
    high: int
    newest_first: bool
    batch: int

    def run(self, more: str, values: tuple[str, ...]) -> Iterator[int]:
        """In order; `more` is a further condition that has an index with the id."""
        low, high = self.low, self.high
        order = "DESC" if self.newest_first else "ASC"
        where = f"{more} {self.clause} id >= ? AND id < ?"
        sql = f"SELECT id FROM log_entry WHERE {where} ORDER BY id {order} LIMIT {self.batch}"
        while found := self.connection.query(sql, (*values, *self.values, low, high)):
            yield from (row[0] for row in found)
            low, high = (low, found[-1][0]) if self.newest_first else (found[-1][0] + 1, high)

    def of_messages(self, messages: Sequence[int], route: str | None) -> Iterator[int]:
        """In order, for messages that are not too many."""
        sql = (
            f"SELECT id FROM log_entry WHERE {self.clause} id >= ? AND id < ? "
            "AND message IN (SELECT value FROM json_each(?)) AND (? IS NULL OR +route = ?)"
        )
        chosen = (*self.values, self.low, self.high, json.dumps(list(messages)), route, route)
        found = self.connection.query(sql, chosen)
        yield from sorted((row[0] for row in found), reverse=self.newest_first)


def _columns_clause(wanted: Wanted) -> tuple[str, tuple[str, ...]]:
    """Equalities and times as a condition that ends in AND. A leading + keeps an index from being chosen for it."""
    terms = {f"+{column} = ?": value for column, value in wanted.columns().items() if column != "route"}
    if wanted.since:
        terms["+logged_at >= ?"] = utc_text(wanted.since)
    if wanted.until:
        terms["+logged_at < ?"] = utc_text(wanted.until)
    return "".join(f"{term} AND " for term in terms), tuple(terms.values())
