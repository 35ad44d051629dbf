"""Which records go on, and the stock values in them: skip, SKU, product and stock of each.

Owns the layout's expressions over a stream of records. They are compiled at the first record, when the columns are
known. Never looks a buffer up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import TypeVar

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite.expressions import compile_condition, compile_number, compile_text
from cegid_daemon.rewrite.recipe import Layout, Stocks
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import NO_KEY, Tally

_T = TypeVar("_T")

BLOCK = 1000  # stock values looked up together

_STOCK_NAMES = ("stock", "raw_stock", "buffer", "buffer_level")

Text = Callable[[Record], str]
Number = Callable[[Record], Decimal | None]


@dataclass(slots=True)
class Value:
    """A record, or an inner one, with its key and its stock as it came; `stock` None = blank."""

    record: Record
    sku: str
    product: str
    stock: Decimal | None
    names: frozenset[str]  # the computed names it gets
    has_stock: bool
    inner: Sequence[Value] = ()


@dataclass(slots=True)
class Block:
    """Some records that go on, and all stock values in them."""

    records: list[Record] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)


def blocks(values: Iterable[Value]) -> Iterator[Block]:
    """The stream in blocks of about `BLOCK` values."""
    block = Block()
    for value in values:
        block.records.append(value.record)
        block.values.append(value)
        block.values.extend(value.inner)
        if len(block.values) >= BLOCK:
            yield block
            block = Block()
    if block.records:
        yield block


@dataclass(frozen=True, slots=True)
class _Inner:
    """A compiled `[[layout.NAME.stocks]]`."""

    path: str
    sku: Text
    stock: Number
    names: frozenset[str]
    has_stock: bool


class Keys:
    """The expressions of one layout, at work on one file."""

    def __init__(self, layout: Layout, tally: Tally) -> None:
        own = next((stocks for stocks in layout.stocks if not stocks.each), Stocks())
        self._layout, self._tally = layout, tally
        self._sku, self._stock = own.sku or layout.sku, own.stock or layout.stock
        self._nested = [stocks for stocks in layout.stocks if stocks.each]
        if layout.sum_by and self._nested:
            raise ConfigurationError(f"layout {layout.name!r} has both sum_by and stocks inside records")
        self._names = _names(self._sku, layout.product, self._stock)

    @property
    def any(self) -> bool:
        """Whether the layout names a key or a stock at all."""
        return bool(self._names or self._nested)

    @property
    def teaches(self) -> bool:
        """Whether the file keeps the catalogue current: a product file, or a layout that says so."""
        layout = self._layout
        skus = self._sku or any(stocks.sku for stocks in self._nested)
        return bool(skus and layout.product and (self._nested or not self._stock or layout.catalogue))

    def wanted(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records no skip expression leaves out; each one left out counts under the first that did."""
        skips: list[tuple[str, Callable[[Record], bool]]] | None = None
        left_out = self._tally.left_out
        for record in records:
            if skips is None:
                columns = self._columns(record)
                skips = [(text, self._known(compile_condition, text, columns)) for text in self._layout.skip]
            for text, leaves_out in skips:
                if leaves_out(record):
                    left_out[text] += 1
                    break
            else:
                yield record

    def values(self, records: Iterable[Record]) -> Iterator[Value]:
        """The records with their keys and stock values; those without any key are left out."""
        remaining = iter(records)
        first = next(remaining, None)
        if first is None:
            return
        columns = self._columns(first)
        sku, product, stock = (
            self._known(compile_text, self._sku, columns),
            self._known(compile_text, self._layout.product, columns),
            self._known(compile_number, self._stock, columns),
        )
        nested = [self._inner(stocks) for stocks in self._nested]
        names, has_stock, keyed = self._names, bool(self._stock), bool(self._sku or self._layout.product)
        for record in chain((first,), remaining):
            value = Value(record, sku(record).strip(), product(record).strip(), stock(record), names, has_stock)
            if nested:
                value.inner = [one for inner in nested for one in self._held(inner, value)]
            if keyed and not (value.sku or value.product) and (has_stock or not value.inner):
                self._tally.left_out[NO_KEY] += 1
                continue
            yield value

    def typed(self, values: Iterable[Value]) -> Iterator[tuple[Value, str]]:
        """The values with what they set in the buffer book, as typed (a layout with `buffer`)."""
        buffer: Text | None = None
        for value in values:
            if buffer is None:
                buffer = self._known(compile_text, self._layout.buffer, self._columns(value.record))
            yield value, buffer(value.record)

    def _held(self, inner: _Inner, outer: Value) -> Sequence[Value]:
        """The stock values under a path; from now on `each(path)` gives the records that have a key."""
        found = []
        for record in outer.record.each(inner.path):
            sku = inner.sku(record).strip()
            if sku or outer.product:
                found.append(Value(record, sku, outer.product, inner.stock(record), inner.names, inner.has_stock))
            else:
                self._tally.notes[f"{NO_KEY}: {inner.path}"] += 1
        outer.record.hold(inner.path, [value.record for value in found])
        return found

    def _inner(self, stocks: Stocks) -> _Inner:
        columns = self._layout.types.get(stocks.each)
        names = _names(stocks.sku, self._layout.product, stocks.stock)
        sku, stock = (
            self._known(compile_text, stocks.sku, columns),
            self._known(compile_number, stocks.stock, columns),
        )
        return _Inner(stocks.each, sku, stock, names, bool(stocks.stock))

    def _columns(self, record: Record) -> Collection[str] | None:
        """The columns there are; an XML element tells only what it happens to hold."""
        return None if self._layout.kind == "xml" else frozenset(record)

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


def _names(sku: str, product: str, stock: str) -> frozenset[str]:
    named = ["sku"] * bool(sku) + ["product"] * bool(product)
    return frozenset((*named, *_STOCK_NAMES) if stock else named)
