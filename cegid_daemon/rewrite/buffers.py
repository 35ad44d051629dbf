"""The stock buffer rule, and its way over a stream of records.

Owns which level applies and what comes out. Never reads a file and never knows where buffers are kept: it asks a
`Book`, in blocks of at most 1,000 keys.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Protocol

from cegid_daemon.rewrite import numbers
from cegid_daemon.rewrite.keys import Block, Key, Keys, found
from cegid_daemon.rewrite.layouts import Source
from cegid_daemon.rewrite.ports import Book
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import COMPUTED, AsItCame, Number, Record, plain
from cegid_daemon.rewrite.sums import Scratch, summed
from cegid_daemon.rewrite.tally import Tally

Belongs = Callable[[str, str], None]
Applied = tuple[int | None, str]
"""The buffer that applies, and its level."""

IGNORED = "not zero or a positive whole number: it unsets the buffer"
VARIATION, PRODUCT, STORE, NONE = "Variation", "Product", "Store", "None"
KEYS_A_CALL = 1000

_NOT_DEFINED: Applied = (None, NONE)
_VALUE = re.compile(r"0*([0-9]+)", re.ASCII)
_MOST_DIGITS = 1000
_COMPUTED = frozenset(COMPUTED)


@lru_cache(8192)
def parse(text: str) -> int | None:
    """The buffer that a typed text defines: zero or a positive integer, ASCII digits, blanks around them ignored.

    None = not defined (blank, negative, signed, decimal, wordy): the search goes on. A value of more than 1,000 digits
    is cut to that: no stock is as large, so the result is the same.
    """
    found = _VALUE.fullmatch(text.strip(numbers.BLANKS))
    return int(found[1][:_MOST_DIGITS]) if found else None


def apply(stock: Number | Decimal, buffer: int | None) -> Number:
    """What may be sold of `stock` (blank stays blank) under `buffer` (None = no level defines one)."""
    if isinstance(stock, AsItCame):
        stock = stock.number
    if isinstance(stock, str) or buffer is None:
        return stock if isinstance(stock, int | str) else plain(stock)
    if stock <= buffer:
        return 0
    return stock - buffer if isinstance(stock, int) else plain(numbers.OPERATIONS["sub"](stock, Decimal(buffer)))


class Stocking(Protocol):
    """What `of_file` is."""

    def __call__(
        self,
        layout: Layout,
        source: Source,
        book: Book,
        tally: Tally,
        /,
        *,
        belongs: Belongs,
        scratch: Scratch,
    ) -> Iterator[Record]:
        """The records of a file that go on, with what `stocked` computes; the others are counted in `tally`."""


def of_file(
    layout: Layout, source: Source, book: Book, tally: Tally, *, belongs: Belongs, scratch: Scratch
) -> Iterator[Record]:
    """The records of a file that go on, with what `stocked` computes; the others are counted in `tally`."""
    return stocked(found(layout, source, tally), layout, book, tally, belongs=belongs, scratch=scratch)


def stocked(
    blocks: Iterable[Block],
    layout: Layout,
    book: Book,
    tally: Tally,
    *,
    belongs: Belongs | None = None,
    scratch: Scratch = io.BytesIO,
) -> Iterator[Record]:
    """The records that go on, with `sku product stock raw_stock buffer buffer_level` where the layout names them.

    Rows that are added to another's are counted in `tally.left_out`, as `summed into one record`. `belongs` is told
    each (SKU, product) of a product file that the book's catalogue does not know; the same pair may come again.
    `scratch` opens an empty file for sums over more keys than memory should hold.
    """
    keys = Keys(layout, tally)
    if layout.sum_by:
        blocks = summed(blocks, keys.values, layout, tally, scratch)
    rule = Rule(layout, book)
    told = belongs if belongs is not None and keys.teaches else None
    for block in blocks:
        if told:
            teach(_keys(block), book, told)
        rule.settle(block)
        yield from [row[0] for row in block.own.rows]


def fed(
    blocks: Iterable[Block], layout: Layout, book: Book, tally: Tally, *, belongs: Belongs | None = None
) -> Iterator[tuple[str, str, str, int]]:
    """What a layout with `buffer` sets in the book: (level, key, value as typed, line).

    A row with a SKU of its own sets the variation, else the product; level is `variation` or `product`. Who takes the
    values counts them as sent.
    """
    keys = Keys(layout, tally)
    for block in blocks:
        if belongs is not None:
            teach(_keys(block), book, belongs)
        for (record, sku, product, _), typed in keys.typed(block.own):
            if sku and sku != product:
                yield "variation", sku, typed, record.line
            else:
                yield "product", product or sku, typed, record.line


def _keys(block: Block) -> Iterator[Key]:
    return (row[1:] for values in block.all for row in values.rows)


def teach(keys: Iterable[Key], book: Book, belongs: Belongs) -> None:
    """Tells which SKU belongs to which product, where the file says so and the catalogue does not know."""
    pairs = {sku: product for sku, product, _ in keys if sku and product and sku != product}
    known = _asked(book.catalogue, pairs)
    for sku, product in pairs.items():
        if known.get(sku) != product:
            belongs(sku, product)


class Rule:
    """The buffer rule over one block of stock values after another."""

    def __init__(self, layout: Layout, book: Book) -> None:
        self._book = book
        self._applies = not layout.delta
        store = parse(book.store_buffer() or "")
        self._outside: Applied = (store, STORE) if store is not None else _NOT_DEFINED

    def settle(self, block: Block) -> None:
        """Sets the computed names on every record of the block that holds a stock value or a key."""
        for values in block.all:
            names, lacking = values.names, _COMPUTED - values.names
            applied = self.applied([row[1:] for row in values.rows])
            for (record, sku, product, stock), (buffer, level) in zip(values.rows, applied, strict=True):
                computed = {
                    "sku": sku, "product": product, "stock": apply(stock, buffer), "raw_stock": stock,
                    "buffer": "" if buffer is None else buffer, "buffer_level": level,
                }  # fmt: skip
                for name in lacking:
                    del computed[name]
                record.compute(computed, names)

    def applied(self, keys: Sequence[Key]) -> list[Applied]:
        """Variation, Product, Store: the first level that defines a value; none for a blank stock."""
        if not self._applies:
            return [_NOT_DEFINED] * len(keys)
        book, outside = self._book, self._outside
        rows = [(sku, product) for sku, product, stock in keys if stock != ""]
        variations = _defined(_asked(book.variations, {sku for sku, _ in rows} - {""}), VARIATION)
        rows = [(sku, product) for sku, product in rows if sku not in variations] if variations else rows
        known = _asked(book.catalogue, {sku for sku, product in rows if not product} - {""})
        owners = {product or known.get(sku, "") for sku, product in rows} - {""}
        products = _defined(_asked(book.products, owners), PRODUCT)
        return [
            _NOT_DEFINED if stock == ""
            else variations.get(sku) or products.get(product or known.get(sku, "")) or outside
            for sku, product, stock in keys
        ]  # fmt: skip


def _asked(ask: Callable[[Sequence[str]], Mapping[str, str]], keys: Iterable[str]) -> Mapping[str, str]:
    """The book's answer for any number of keys."""
    answer: dict[str, str] = {}
    remaining = iter(keys)
    while some := list(islice(remaining, KEYS_A_CALL)):
        answer.update(ask(some))
    return answer


def _defined(typed: Mapping[str, str], level: str) -> dict[str, Applied]:
    """The values that define a buffer; the others are as if they were not there."""
    return {key: (value, level) for key, text in typed.items() if (value := parse(text)) is not None}
