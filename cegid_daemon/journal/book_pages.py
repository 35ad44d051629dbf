"""Pages of the buffer book for people: buffers as they apply, the variations of a product, and the newest changes.

Only reads, by the key, never by an offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cegid_daemon.journal.book import Buffer
from cegid_daemon.journal.connection import Connection

_PAGE = """
    SELECT level, key, value, max(revision) FROM buffer
    WHERE store = :store AND (level, key) > (:level, :key) GROUP BY level, key ORDER BY level, key LIMIT :limit
"""
_MEMBERS = """
    SELECT variation FROM catalogue c WHERE store = :store AND product = :product AND revision = (
        SELECT max(revision) FROM catalogue o WHERE o.store = c.store AND o.variation = c.variation)
    LIMIT :limit
"""
_BEGINNINGS = """
    SELECT key FROM (SELECT DISTINCT variation AS key FROM catalogue
                     WHERE store = :store AND variation > :text AND variation < :after ORDER BY 1 LIMIT :limit)
    UNION SELECT key FROM (SELECT DISTINCT product AS key FROM catalogue
                           WHERE store = :store AND product > :text AND product < :after ORDER BY 1 LIMIT :limit)
    UNION SELECT key FROM (SELECT DISTINCT key FROM buffer WHERE store = :store AND level IN ('variation', 'product')
                           AND key > :text AND key < :after ORDER BY 1 LIMIT :limit)
    ORDER BY key LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Revised:
    """One revision: an edit or a whole import. `at` is `utc_text`."""

    id: int
    at: str
    who: str
    origin: str


class BookPages:
    """Pages of the book."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def buffers(
        self, store: str, behind: tuple[str, str], limit: int
    ) -> tuple[Sequence[Buffer], tuple[str, str] | None]:
        """At most `limit` buffers behind (level, key), and where to go on; those unset are passed over."""
        at = {"store": store, "level": behind[0], "key": behind[1], "limit": limit}
        found = self._connection.query(_PAGE, at)
        rest = (str(found[-1]["level"]), str(found[-1]["key"])) if len(found) == limit else None
        return [Buffer(store, row["level"], row["key"], row["value"]) for row in found if row["value"]], rest

    def members(self, store: str, product: str, limit: int) -> list[str]:
        """Variations that belong to a product by the catalogue."""
        found = self._connection.query(_MEMBERS, {"store": store, "product": product, "limit": limit})
        return [str(row[0]) for row in found]

    def beginning(self, store: str, text: str, limit: int) -> list[str]:
        """Keys of buffers and of the catalogue that begin with a text, and are longer."""
        wanted = {"store": store, "text": text, "after": text + "\U0010ffff", "limit": limit}
        return [str(row[0]) for row in self._connection.query(_BEGINNINGS, wanted)]

    def revisions(self, limit: int) -> list[Revised]:
        """The newest revisions."""
        found = self._connection.query("SELECT id, at, who, origin FROM revision ORDER BY id DESC LIMIT ?", (limit,))
        return [Revised(*row) for row in found]
