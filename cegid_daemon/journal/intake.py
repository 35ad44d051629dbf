"""Imports into the book: many rows, staged aside, then applied whole in one transaction under one revision.

Rows merge: keys not listed stay, and only a value that differs from the current one is written. Bad rows are reported
with their line and leave the others alone. Reads no file: rows come in, a report goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import TypeVar

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.revisions import LEVELS, Author, Revisions, or_blank, trimmed
from cegid_daemon.rewrite.buffers import IGNORED, parse

BufferRow = tuple[int, str, str, str, str]  # line, store, level, key, value
BelongsRow = tuple[int, str, str, str]  # line, store, variation, product
Progress = Callable[[int], None]  # rows read so far

_Row = TypeVar("_Row")
_BLOCK = 5_000  # rows staged at once
_REPORTED = 1_000  # remarks kept of each kind; all are counted

_BUFFERS = (
    "CREATE TEMP TABLE {table} (store TEXT, level TEXT, key TEXT, value TEXT, PRIMARY KEY (store, level, key)) "
    "WITHOUT ROWID",
    "INSERT OR REPLACE INTO temp.{table} VALUES (?, ?, ?, ?)",
    "INSERT INTO buffer (store, level, key, revision, value) SELECT n.store, n.level, n.key, ?, n.value "
    "FROM temp.{table} n WHERE n.value <> coalesce((SELECT o.value FROM buffer o WHERE o.store = n.store "
    "AND o.level = n.level AND o.key = n.key ORDER BY o.revision DESC LIMIT 1), '')",
)
_UNSETTING = (  # staged values that define no buffer, where another value applies
    "SELECT n.store, n.level, n.key, n.value, (SELECT o.value FROM buffer o WHERE o.store = n.store "
    "AND o.level = n.level AND o.key = n.key ORDER BY o.revision DESC LIMIT 1) AS was FROM temp.{table} n "
    "WHERE (n.value = '' OR n.value GLOB '*[^0-9]*') AND was <> n.value"
)
_CATALOGUE = (
    "CREATE TEMP TABLE {table} (store TEXT, variation TEXT, product TEXT, PRIMARY KEY (store, variation)) "
    "WITHOUT ROWID",
    "INSERT OR REPLACE INTO temp.{table} VALUES (?, ?, ?)",
    "INSERT INTO catalogue (store, variation, revision, product) SELECT n.store, n.variation, ?, n.product "
    "FROM temp.{table} n WHERE n.product <> coalesce((SELECT o.product FROM catalogue o WHERE o.store = n.store "
    "AND o.variation = n.variation ORDER BY o.revision DESC LIMIT 1), '')",
)


@dataclass(frozen=True, slots=True)
class Remark:
    """What an import has to say about one line."""

    line: int
    key: str
    value: str
    reason: str
    store: str = ""
    level: str = ""
    unsets: str = ""  # the buffer that applied there until this import

    def __str__(self) -> str:
        what = f"{self.key}: {self.value!r}: {self.reason}" if self.reason else f"{self.key or self.level}: blank"
        return f"{what}; unsets {self.unsets}" if self.unsets else what


@dataclass(slots=True)
class ImportReport:
    """What an import did. `ignored` values unset theirs; `malformed` rows did nothing; all hold the first thousand."""

    read: int = 0
    written: int = 0
    ignored_count: int = 0
    malformed_count: int = 0
    revision: int | None = None  # None: nothing changed
    ignored: list[Remark] = field(default_factory=list)
    malformed: list[Remark] = field(default_factory=list)
    unset: list[Remark] = field(default_factory=list)  # buffers that a blank value unset, without a line

    def __str__(self) -> str:
        return (
            f"{self.read} rows, {self.written} changed, {self.ignored_count} ignored, {self.malformed_count} malformed"
        )

    def ignore(self, remark: Remark) -> None:
        """A value that defines nothing."""
        self.ignored_count += 1
        if len(self.ignored) < _REPORTED:
            self.ignored.append(remark)

    def reject(self, remark: Remark) -> None:
        """A row that cannot be taken."""
        self.malformed_count += 1
        if len(self.malformed) < _REPORTED:
            self.malformed.append(remark)


@dataclass(frozen=True, slots=True)
class _Applying:
    """The statement that applies staged rows, and for buffers the one that names what they unset."""

    sql: str
    unsetting: str


class Intake:
    """Takes rows into the book."""

    def __init__(self, connection: Connection, revisions: Revisions) -> None:
        self._connection = connection
        self._revisions = revisions
        self._tables = count(1)

    def buffers(
        self, rows: Iterable[BufferRow], author: Author, stores: Collection[str] | None, progress: Progress
    ) -> ImportReport:
        """Buffers; the last row of a key counts. Rows of stores not in `stores` are malformed (None: any store)."""
        report = ImportReport()
        return self._taken(_BUFFERS, fit_buffers(_counted(rows, report, progress), stores, report), author, report)

    def catalogue(
        self, rows: Iterable[BelongsRow], author: Author, stores: Collection[str] | None, progress: Progress
    ) -> ImportReport:
        """Which variation belongs to which product; a blank product unsets."""
        report = ImportReport()
        return self._taken(_CATALOGUE, _fit_catalogue(_counted(rows, report, progress), stores, report), author, report)

    def fed(
        self, buffers: Iterable[BufferRow], belongs: Iterable[BelongsRow], author: Author
    ) -> tuple[ImportReport, ImportReport]:
        """Buffers and the catalogue in one go; `belongs` is read once `buffers` has come to its end."""
        of_buffers, of_catalogue = ImportReport(), ImportReport()
        fit = fit_buffers(_counted(buffers, of_buffers, unwatched), None, of_buffers)
        pairs = _fit_catalogue(_counted(belongs, of_catalogue, unwatched), None, of_catalogue)
        with self._staged(_BUFFERS, fit) as first, self._staged(_CATALOGUE, pairs) as second:
            self._apply(author, (first, of_buffers), (second, of_catalogue))
        return of_buffers, of_catalogue

    def _taken(
        self, statements: tuple[str, str, str], rows: Iterator[tuple[str, ...]], author: Author, report: ImportReport
    ) -> ImportReport:
        with self._staged(statements, rows) as apply:
            self._apply(author, (apply, report))
        return report

    def _apply(self, author: Author, *staged: tuple[_Applying, ImportReport]) -> None:
        with self._connection.transaction():
            revision = self._revisions.begin(author)
            for apply, report in staged:
                if apply.unsetting:
                    self._name_unset(apply.unsetting, report)
                report.written = self._connection.execute(apply.sql, (revision,)).rowcount
                report.revision = revision if report.written else None
            if not any(report.written for _, report in staged):
                self._revisions.take_back(revision)

    def _name_unset(self, unsetting: str, report: ImportReport) -> None:
        """Names the buffers that no longer apply, beside the values that define none."""
        was = {
            (row["store"], row["level"], row["key"], row["value"]): row["was"]
            for row in self._connection.query(unsetting)
            if parse(row["was"]) is not None and parse(row["value"]) is None
        }
        report.ignored = [
            replace(one, unsets=was.get((one.store, one.level, one.key, one.value), "")) for one in report.ignored
        ]
        report.unset = [
            Remark(0, key, "", "", store, level, before)
            for (store, level, key, value), before in was.items() if not value
        ][:_REPORTED]  # fmt: skip

    @contextmanager
    def _staged(self, statements: tuple[str, str, str], rows: Iterator[tuple[str, ...]]) -> Iterator[_Applying]:
        """Every row in a table of its own; the statement that applies them."""
        with self._table(statements) as (insert, apply):
            while block := list(islice(rows, _BLOCK)):
                self._connection.stage(insert, block)
            yield apply

    @contextmanager
    def _table(self, statements: tuple[str, str, str]) -> Iterator[tuple[str, _Applying]]:
        """Each import has a table of its own: two may run at once."""
        table = f"intake_{next(self._tables)}"
        create, insert, apply = (statement.format(table=table) for statement in statements)
        self._connection.stage(create)
        try:
            unsetting = _UNSETTING.format(table=table) if statements is _BUFFERS else ""
            yield insert, _Applying(apply, unsetting)
        finally:
            self._connection.stage(f"DROP TABLE IF EXISTS temp.{table}")


def unwatched(_rows: int) -> None:
    """Nobody watches."""


def _counted(rows: Iterable[_Row], report: ImportReport, progress: Progress) -> Iterator[_Row]:
    for row in rows:
        report.read += 1
        if report.read % _BLOCK == 0:
            progress(report.read)
        yield row
    progress(report.read)


def fit_buffers(
    rows: Iterable[BufferRow], stores: Collection[str] | None, report: ImportReport
) -> Iterator[tuple[str, ...]]:
    """The rows that can be taken, trimmed: store, level, key, value; what is to be said of the others is reported."""
    for line, store_typed, level_typed, key_typed, value in rows:
        store, level, key = trimmed(store_typed), trimmed(level_typed).lower(), trimmed(key_typed)
        if reason := _unfit(store, level, key, stores):
            report.reject(Remark(line, key, value, reason))
            continue
        kept = or_blank(value)
        if kept and parse(kept) is None:
            report.ignore(Remark(line, key, value, IGNORED, store, level))
        yield store, level, key, kept


def _unfit(store: str, level: str, key: str, stores: Collection[str] | None) -> str:
    if stores is not None and store not in stores:
        return f"store {store!r} is not configured"
    if level not in LEVELS:
        return f"level {level!r} is none of {', '.join(LEVELS)}"
    if level == "store":
        return "a store buffer has no key" if key else ""
    return "" if key else "the key is blank"


def _fit_catalogue(
    rows: Iterable[BelongsRow], stores: Collection[str] | None, report: ImportReport
) -> Iterator[tuple[str, ...]]:
    for line, store_typed, variation_typed, product in rows:
        store, variation = trimmed(store_typed), trimmed(variation_typed)
        if stores is not None and store not in stores:
            report.reject(Remark(line, variation, product, f"store {store!r} is not configured"))
        elif not variation:
            report.reject(Remark(line, variation, product, "the variation is blank"))
        else:
            yield store, variation, trimmed(product)
