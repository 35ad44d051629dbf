"""Log entries by size or by file name: ids in that order, a stretch at a time, each in a bounded time.

Where few entries are asked for they are sorted; else the index of the column is walked, and what does not fit is left
out. Only reads. Names are those the entry was made with, capitals as small letters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cegid_daemon.journal.connection import Connection

FEW = 10_000  # entries that are sorted at once
_WALKED = 1_000  # entries of the index that are looked at in one go
COLUMNS = {"size": "size", "name": "file_name COLLATE NOCASE"}

Stretch = tuple[Sequence[int], int]  # (ids that fit, in order; the last id looked at)


@dataclass(frozen=True, slots=True)
class Sorting:
    """Entries that fit a condition, by a column of `COLUMNS` and, where it is the same, by id."""

    connection: Connection
    column: str
    downwards: bool
    fits: str
    values: tuple[object, ...]

    def few(self, ids: Sequence[int], behind: int | None) -> Iterator[Stretch]:
        """Of these entries, which all fit, those behind `behind`."""
        sql = f"SELECT id FROM log_entry WHERE id IN (SELECT value FROM json_each(?)) {self._order()}"
        found = [row[0] for row in self.connection.query(sql, (json.dumps(list(ids)),))]
        if behind in found:
            found = found[found.index(behind) + 1 :]
        if found:
            yield found, found[-1]

    def walk(self, behind: int | None) -> Iterator[Stretch]:
        """All entries behind `behind`, as far as one goes on asking."""
        while True:
            beyond, values = self._beyond(behind)
            sql = f"SELECT id, {self.fits} AS fits FROM ({beyond}) {self._order()} LIMIT {_WALKED}"
            found = self.connection.query(sql, (*self.values, *values))
            if found:
                yield [row["id"] for row in found if row["fits"]], found[-1]["id"]
            if len(found) < _WALKED:
                return
            behind = found[-1]["id"]

    def _beyond(self, behind: int | None) -> tuple[str, tuple[object, ...]]:
        """The next rows behind an entry in this order, by the index; from the first on, where it is gone by now."""
        column, end = COLUMNS[self.column], f"{self._order()} LIMIT {_WALKED}"
        row = self.connection.one(f"SELECT {column.partition(' ')[0]} FROM log_entry WHERE id = ?", (behind,))
        if row is None:
            return f"SELECT * FROM log_entry {end}", ()
        compare = "<" if self.downwards else ">"
        same = f"SELECT * FROM (SELECT * FROM log_entry WHERE {column} = ? AND id {compare} ? {end})"
        further = f"SELECT * FROM (SELECT * FROM log_entry WHERE {column} {compare} ? {end})"
        return f"{same} UNION ALL {further}", (row[0], behind, row[0])

    def _order(self) -> str:
        direction = "DESC" if self.downwards else "ASC"
        return f"ORDER BY {COLUMNS[self.column]} {direction}, id {direction}"
