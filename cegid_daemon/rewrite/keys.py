"""Which records go on, and the stock values in them: skip, SKU, product and stock of each.

Owns the layout's expressions over a stream of records, and the blocks the records go on in. The expressions are
compiled at the first record, when the columns are known. Never looks a buffer up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TypeVar

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.expressions import compile_condition, compile_stock, compile_text
from cegid_daemon.rewrite.key_remarks import KeyRemarks
from cegid_daemon.rewrite.recipe import Layout, Stocks
from cegid_daemon.rewrite.record import Number, Record
from cegid_daemon.rewrite.tally import NO_KEY, Tally

_T = TypeVar("_T")

BLOCK = 1000  # stock values looked up together

_STOCK_NAMES = ("stock", "raw_stock", "buffer", "buffer_level")

Text = Callable[[Record], str]
Stock = Callable[[Record], Number]
Key = tuple[str, str, Number]
"""SKU, product, stock."""
Row = tuple[Record, str, str, Number]
"""Record, SKU, product, stock."""


@dataclass(frozen=True, slots=True)
class Values:
    """Stock values of one kind: records (or inner ones) with their keys and their stock as it came."""

    names: frozenset[str]  # the computed names each record gets
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Block:
    """The values of some records that go on, and of what stands inside them, by path."""

    own: Values
    inner: Sequence[Values] = ()

    @property
    def all(self) -> Sequence[Values]:
        """Every value, of whatever kind."""
        return (self.own, *self.inner)

    @property
    def full(self) -> bool:
        """Whether it holds as many values as are looked up together."""
        return any(len(values.rows) >= BLOCK for values in self.all)


@dataclass(frozen=True, slots=True)
class _Inner:
    """A compiled `[[layout.NAME.stocks]]`."""

    path: str
    sku: Text
    stock: Stock
    names: frozenset[str]
    watch: KeyRemarks


class Keys:
    """The expressions of one layout, at work on one file."""

    def __init__(self, layout: Layout, tally: Tally) -> None:
        own = next((stocks for stocks in layout.stocks if not stocks.each), Stocks())
        self._layout, self._tally = layout, tally
        self.sku, self.stock = own.sku or layout.sku, own.stock or layout.stock  # the records' own expressions
        self._nested = [stocks for stocks in layout.stocks if stocks.each]
        if layout.sum_by and self._nested:
            raise ConfigurationError(f"layout {layout.name!r} has both sum_by and stocks inside records")
        self.names = _names(self.sku, layout.product, self.stock)  # the computed names each record gets

    @property
    def teaches(self) -> bool:
        """Whether the file keeps the catalogue current: a product file, or a layout that says so."""
        layout = self._layout
        skus = self.sku or any(stocks.sku for stocks in self._nested)
        return bool(skus and layout.product and (self._nested or not self.stock or layout.catalogue))

    def wanted(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records no skip expression leaves out; each one left out counts under the first that did."""
        skips: list[tuple[str, Callable[[Record], bool]]] | None = None
        left_out = self._tally.left_out
        for record in records:
            if skips is None:
                columns = columns_of(record, self._layout)
                skips = [(text, self._known(compile_condition, text, columns)) for text in self._layout.skip]
            for text, leaves_out in skips:
                if leaves_out(record):
                    left_out[text] += 1
                    break
            else:
                yield record

    def blocks(self, records: Iterable[Record]) -> Iterator[Block]:
        """The wanted records with their keys and stock values, in blocks; those without any key are left out."""
        remaining = self.wanted(records)
        first = next(remaining, None)
        if first is None:
            return
        columns = columns_of(first, self._layout)
        sku, product, stock = (
            self._known(compile_text, self.sku, columns),
            self._known(compile_text, self._layout.product, columns),
            self._known(compile_stock, self.stock, columns),
        )
        nested = [self._inner(stocks) for stocks in self._nested]
        watches = [KeyRemarks(self._layout, self._tally, stock=self.stock), *(inner.watch for inner in nested)]
        block = self._block(nested)
        for record in chain((first,), remaining):
            key, owner, number = sku(record).strip(), product(record).strip(), stock(record)
            held = [self._hold(*one, record, owner) for one in zip(nested, block.inner, strict=True)] if nested else []
            if key or owner or self._goes_without_key(held=any(held)):
                block.own.rows.append((record, key, owner, number))
            else:
                self._tally.left_out[NO_KEY] += 1
            if len(block.own.rows) >= BLOCK or (nested and block.full):
                _watch(block, watches)
                yield block
                block = self._block(nested)
        _watch(block, watches)
        for watch in watches:
            watch.finish()
        yield block

    def _goes_without_key(self, *, held: bool) -> bool:
        """Whether a record goes on although both its SKU and its product are blank."""
        return not (self.sku or self._layout.product) or (held and not self.stock)

    def _block(self, nested: Sequence[_Inner]) -> Block:
        return Block(self.values(), [Values(inner.names) for inner in nested])

    def values(self) -> Values:
        """Room for values of the records themselves."""
        return Values(self.names)

    def typed(self, values: Values) -> Iterator[tuple[Row, str]]:
        """The values with what they set in the buffer book, as typed (a layout with `buffer`)."""
        buffer: Text | None = None
        for row in values.rows:
            if buffer is None:
                buffer = self._known(compile_text, self._layout.buffer, columns_of(row[0], self._layout))
            yield row, buffer(row[0])

    def _hold(self, inner: _Inner, values: Values, outer: Record, product: str) -> bool:
        """Adds the stock values under a path; from now on `each(path)` gives the records that have a key, if any."""
        kept = []
        for record in outer.each(inner.path):
            sku = inner.sku(record).strip()
            if sku or product:
                values.rows.append((record, sku, product, inner.stock(record)))
                kept.append(record)
            else:
                self._tally.notes[f"{NO_KEY}: {inner.path}"] += 1
        outer.hold(inner.path, kept)
        return bool(kept)

    def _inner(self, stocks: Stocks) -> _Inner:
        columns = self._layout.types.get(stocks.each)
        names = _names(stocks.sku, self._layout.product, stocks.stock)
        sku, stock = (
            self._known(compile_text, stocks.sku, columns),
            self._known(compile_stock, stocks.stock, columns),
        )
        return _Inner(stocks.each, sku, stock, names, KeyRemarks(self._layout, self._tally, stock=stocks.stock))

    def _known(
        self, compiler: Callable[[str, Layout, Collection[str] | None], _T], text: str, columns: Collection[str] | None
    ) -> _T:
        try:
            return compiler(text or "''", self._layout, columns)
        except BadInput as error:
            raise error.at(line=self._title_line()) from None

    def _title_line(self) -> int:
        layout = self._layout
        titled = layout.kind == "delimited" and layout.header and not layout.columns
        return layout.lead + 1 if titled else 0


def _watch(block: Block, watches: Sequence[KeyRemarks]) -> None:
    for values, watch in zip(block.all, watches, strict=True):
        rows = values.rows
        watch.see([row[1] for row in rows], [row[2] for row in rows], partial(_places, rows))
        watch.see_records([row[0] for row in rows])


def _places(rows: Sequence[Row]) -> list[tuple[int, int]]:
    return [_place(row[0]) for row in rows]


def _place(record: Record) -> tuple[int, int]:
    number = record.number or (record.parent.number if record.parent is not None else 0)
    return number, record.line


def columns_of(record: Record, layout: Layout) -> Collection[str] | None:
    """The columns there are, as a first record shows them; an XML element tells only what it happens to hold."""
    return None if layout.kind == "xml" else frozenset(record)


def found(layout: Layout, source: layouts.Source, tally: Tally) -> Iterator[Block]:
    """The records of a file that go on, with their keys and stock values; the others are counted in `tally`."""
    return Keys(layout, tally).blocks(layouts.read(layout, source, tally))


def _names(sku: str, product: str, stock: str) -> frozenset[str]:
    named = ["sku"] * bool(sku) + ["product"] * bool(product)
    return frozenset((*named, *_STOCK_NAMES) if stock else named)
