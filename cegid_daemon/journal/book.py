"""The buffer book: stock buffers, the catalogue and the stores' settings, each value with its whole history.

A row per change; what applies at a revision is the newest row up to it, and a blank value means unset. Nothing is ever
overwritten. The book keeps what was typed; which text is a value is the rule's to say (`rewrite.buffers.parse`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.errors import BadValue
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.intake import BelongsRow, BufferRow, ImportReport, Intake, Progress, unwatched
from cegid_daemon.journal.revisions import LATEST, LEVELS, Author, Change, Revisions, or_blank, trimmed
from cegid_daemon.journal.settings import Settings
from cegid_daemon.rewrite.buffers import parse

_PAGE = 1_000
_BUFFER_PAGE = """
    SELECT store, level, key, value, max(revision) FROM buffer
    WHERE (store, level, key) > (:store, :level, :key) AND revision <= :revision
      AND (:only_store IS NULL OR store = :only_store) AND (:only_level IS NULL OR level = :only_level)
    GROUP BY store, level, key ORDER BY store, level, key LIMIT :page
"""
_CATALOGUE_PAGE = """
    SELECT store, variation, product, max(revision) FROM catalogue
    WHERE (store, variation) > (:store, :variation) AND revision <= :revision
      AND (:only_store IS NULL OR store = :only_store)
    GROUP BY store, variation ORDER BY store, variation LIMIT :page
"""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer as it applies. `units` is None where the typed text is not a value: the search for a level goes on."""

    store: str
    level: str
    key: str
    value: str  # as typed

    @property
    def units(self) -> int | None:
        """Units held back."""
        return parse(self.value)


class BufferBook:
    """The buffer room of the journal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._revisions = Revisions(connection)
        self._intake = Intake(connection, self._revisions)
        self.settings = Settings(connection, self._revisions)

    def current_revision(self) -> int:
        """The newest revision; 0 before the first."""
        return self._revisions.current()

    def as_of(self, moment: datetime) -> int:
        """The revision that applied at a past moment; 0 before the first."""
        return self._revisions.as_of(moment)

    def set(self, store: str, level: str, key: str, value: str, *, who: str, now: datetime, origin: str) -> Buffer:
        """Sets a buffer to a typed text, and gives it back as it applies (see `Buffer.units`).

        A blank, or a text that is no value, unsets; the text is kept. BadValue for a level or key that cannot be.
        """
        level, key = _checked(level, key)
        with self._connection.transaction():
            if or_blank(value) != self._text(store, level, key, LATEST):
                self._write(store, level, key, or_blank(value), Author(who, origin, now))
        return Buffer(store, level, key, or_blank(value))

    def unset(self, store: str, level: str, key: str, *, who: str, now: datetime, origin: str) -> Buffer:
        """Unsets a buffer: the search goes on to the next level."""
        return self.set(store, level, key, "", who=who, now=now, origin=origin)

    def _write(self, store: str, level: str, key: str, value: str, author: Author) -> None:
        self._connection.execute(
            "INSERT INTO buffer (store, level, key, revision, value) VALUES (?, ?, ?, ?, ?)",
            (store, level, key, self._revisions.begin(author), value),
        )

    def get(self, store: str, level: str, key: str, revision: int | None = None) -> Buffer | None:
        """The buffer as it applies now or did at `revision`; None if unset. `units` is None for an ignored text."""
        level, key = _checked(level, key)
        text = self._text(store, level, key, LATEST if revision is None else revision)
        return Buffer(store, level, key, text) if text else None

    def _text(self, store: str, level: str, key: str, revision: int) -> str:
        row = self._connection.one(
            "SELECT value FROM buffer WHERE store = ? AND level = ? AND key = ? AND revision <= ? "
            "ORDER BY revision DESC LIMIT 1",
            (store, level, key, revision),
        )
        return str(row["value"]) if row else ""

    def list(
        self, store: str | None = None, level: str | None = None, *, revision: int | None = None
    ) -> Iterator[Buffer]:
        """Every buffer set now, or at `revision`, by store, level, key; read by the page, so any number of them."""
        at = {"store": store or "", "level": level or "" if store else "", "key": ""}
        fixed = {"revision": LATEST if revision is None else revision, "only_store": store, "only_level": level}
        while found := self._connection.query(_BUFFER_PAGE, {**at, **fixed, "page": _PAGE}):
            yield from (Buffer(*row[:4]) for row in found if row["value"])
            at = {"store": found[-1]["store"], "level": found[-1]["level"], "key": found[-1]["key"]}

    def history(self, store: str, level: str, key: str) -> Sequence[Change]:
        """Every change of one buffer, oldest first."""
        level, key = _checked(level, key)
        found = self._connection.query(
            "SELECT r.id, r.at, r.who, r.origin, b.value FROM buffer b JOIN revision r ON r.id = b.revision "
            "WHERE b.store = ? AND b.level = ? AND b.key = ? ORDER BY b.revision",
            (store, level, key),
        )
        return [Change(*row) for row in found]

    def import_rows(
        self, rows: Iterable[BufferRow], *, who: str, origin: str, now: datetime,
        stores: Collection[str] | None = None, progress: Progress = unwatched,
    ) -> ImportReport:  # fmt: skip
        """Merges rows `(line, store, level, key, value)` whole or not at all, as one revision; joins a transaction.

        Only values that differ are written; ignored values and malformed rows are reported, never fatal. `stores`
        are those that are configured; `progress` is told the number of rows read. What `rows` raises comes out.
        """
        return self._intake.buffers(rows, Author(who, origin, now), stores, progress)

    def export_rows(
        self, store: str | None = None, *, revision: int | None = None
    ) -> Iterator[tuple[str, str, str, str]]:
        """Rows `(store, level, key, value)` that `import_rows` takes again."""
        for buffer in self.list(store, revision=revision):
            yield buffer.store, buffer.level, buffer.key, buffer.value

    def import_catalogue(
        self, rows: Iterable[BelongsRow], *, who: str, origin: str, now: datetime,
        stores: Collection[str] | None = None, progress: Progress = unwatched,
    ) -> ImportReport:  # fmt: skip
        """Merges rows `(line, store, variation, product)` as `import_rows` does; a blank product unsets."""
        return self._intake.catalogue(rows, Author(who, origin, now), stores, progress)

    def belongs(
        self, store: str, pairs: Iterable[tuple[str, str]], *, who: str, origin: str, now: datetime
    ) -> ImportReport:
        """What a product file says: pairs of variation and product of one store."""
        rows = ((0, store, variation, product) for variation, product in pairs)
        return self.import_catalogue(rows, who=who, origin=origin, now=now)

    def import_fed(
        self, buffers: Iterable[BufferRow], belongs: Iterable[BelongsRow], *, who: str, origin: str, now: datetime
    ) -> tuple[ImportReport, ImportReport]:
        """What a file says of both, whole or not at all, as one revision: the reports on buffers and on the catalogue.

        Rows are those of `import_rows` and `import_catalogue`; `belongs` is read once `buffers` has come to its end.
        """
        return self._intake.fed(buffers, belongs, Author(who, origin, now))

    def product_of(self, store: str, variation: str, revision: int | None = None) -> str | None:
        """The product a variation belongs to by the catalogue, now or at `revision`."""
        row = self._connection.one(
            "SELECT product FROM catalogue WHERE store = ? AND variation = ? AND revision <= ? "
            "ORDER BY revision DESC LIMIT 1",
            (store, trimmed(variation), LATEST if revision is None else revision),
        )
        return str(row["product"]) or None if row else None

    def knows(self, store: str, key: str) -> bool:
        """Whether the catalogue or a buffer of a store names a key, as variation or as product."""
        row = self._connection.one(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM catalogue WHERE store = :store AND variation = :key) "
            "OR EXISTS (SELECT 1 FROM catalogue WHERE store = :store AND product = :key) "
            "OR EXISTS (SELECT 1 FROM buffer WHERE store = :store AND level IN ('variation', 'product') "
            "AND key = :key)",
            {"store": store, "key": trimmed(key)},
        )
        return row is not None

    def catalogue(self, store: str | None = None, *, revision: int | None = None) -> Iterator[tuple[str, str, str]]:
        """Rows `(store, variation, product)` as they apply, in order; read by the page."""
        at = {"store": store or "", "variation": ""}
        fixed = {"revision": LATEST if revision is None else revision, "only_store": store}
        while found := self._connection.query(_CATALOGUE_PAGE, {**at, **fixed, "page": _PAGE}):
            yield from ((row["store"], row["variation"], row["product"]) for row in found if row["product"])
            at = {"store": found[-1]["store"], "variation": found[-1]["variation"]}


def _checked(level: str, key: str) -> tuple[str, str]:
    key = trimmed(key)
    if level not in LEVELS:
        raise BadValue(f"{level!r} is not a level of buffers", remedy=f"Take one of {', '.join(LEVELS)}.")
    if level == "store" and key:
        raise BadValue("a store buffer has no key", why=f"{key!r} was given", remedy="Leave the key blank.")
    if level != "store" and not key:
        raise BadValue(f"the key of a {level} buffer is blank", remedy=f"Give the {level}'s code.")
    return level, key
