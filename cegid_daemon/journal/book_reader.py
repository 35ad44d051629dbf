"""The buffer book as a worker process reads it: one store, one route, one revision, a thousand keys at a time.

Implements `rewrite.ports.Book` over a read-only connection of its own (`reader.connect`). Writes nothing, and imports
nothing heavy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache

_KIN = """
    WITH RECURSIVE older (id, replay_of) AS (
        SELECT id, replay_of FROM message WHERE id = :message
        UNION SELECT m.id, m.replay_of FROM message m JOIN older o ON m.id = o.replay_of
    ), kin (id) AS (
        SELECT id FROM older UNION SELECT m.id FROM message m JOIN kin k ON m.replay_of = k.id
    )
    SELECT id FROM kin
"""
_EXPORTED = """
    SELECT e.key, e.message FROM exported e LEFT JOIN message m ON m.id = e.message
    WHERE e.route = ?1 AND e.key IN ({marks})
      AND (m.id IS NULL OR m.state NOT IN ('failed', 'discarded') OR EXISTS (
          SELECT 1 FROM delivery d WHERE d.message = m.id AND d.state IN ('delivered', 'uploaded', 'unsure')))
"""
_VALUES = """
    WITH wanted (key) AS (VALUES {marks})
    SELECT key, (SELECT {value} FROM {table} t WHERE t.store = ?1 AND t.revision <= ?2 {level} AND t.{key} = wanted.key
                 ORDER BY t.revision DESC LIMIT 1)
    FROM wanted
"""


class BookReader:
    """What applies for one message. `message_id` 0: a rewriting that is no message's (`rewrite`, `rehearse`)."""

    def __init__(self, conn: sqlite3.Connection, store: str, route: str, revision: int, message_id: int) -> None:
        self._conn = conn
        self._store = store
        self._route = route
        self._revision = revision
        self._message = message_id

    def store_buffer(self) -> str | None:
        """The store-level buffer."""
        return self._buffers("store", ("",)).get("")

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:
        """Variation buffers by SKU."""
        return self._buffers("variation", skus)

    def products(self, products: Collection[str]) -> Mapping[str, str]:
        """Product buffers by product."""
        return self._buffers("product", products)

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:
        """The product each SKU belongs to."""
        return self._look_up("catalogue", "", skus) if self._any_catalogue else {}

    def exported(self, keys: Sequence[str]) -> Collection[str]:
        """Those of `keys` that another message owns: delivered, or on its way.

        A message that replays, and the one it replays, are the same owner; one that failed or was discarded with
        nothing out of its hands owns nothing.
        """
        if not keys:
            return frozenset()
        sql = _EXPORTED.format(marks=_marks(len(keys), 2, "?{}"))
        return {key for key, owner in self._conn.execute(sql, (self._route, *keys)) if owner not in self._kin}

    def _buffers(self, level: str, keys: Collection[str]) -> Mapping[str, str]:
        return self._look_up("buffer", level, keys) if level in self._levels else {}

    def _look_up(self, table: str, level: str, keys: Collection[str]) -> Mapping[str, str]:
        if not keys:
            return {}
        found = self._conn.execute(
            _values_sql(table, level, len(keys)), (self._store, self._revision, *keys)
        ).fetchall()
        return {key: value for key, value in found if value}

    @cached_property
    def _levels(self) -> frozenset[str]:
        """The levels that hold anything at all; most stores use one or two, and an empty one costs nothing then."""
        sql = "SELECT 1 FROM buffer WHERE store = ? AND level = ? LIMIT 1"
        levels = ("variation", "product", "store")
        return frozenset(level for level in levels if self._conn.execute(sql, (self._store, level)).fetchone())

    @cached_property
    def _any_catalogue(self) -> bool:
        found = self._conn.execute("SELECT 1 FROM catalogue WHERE store = ? LIMIT 1", (self._store,)).fetchone()
        return found is not None

    @cached_property
    def _kin(self) -> frozenset[int]:
        return frozenset(row[0] for row in self._conn.execute(_KIN, {"message": self._message}))


@lru_cache(maxsize=16)
def _values_sql(table: str, level: str, count: int) -> str:
    marks = _marks(count, 3, "(?{})")
    if table == "catalogue":
        return _VALUES.format(marks=marks, table=table, value="product", key="variation", level="")
    return _VALUES.format(marks=marks, table=table, value="value", key="key", level=f"AND t.level = '{level}'")


def _marks(count: int, first: int, mark: str) -> str:
    return ", ".join(mark.format(number) for number in range(first, first + count))
