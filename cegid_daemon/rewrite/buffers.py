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
from typing import IO, Any

from cegid_daemon.rewrite import numbers
from cegid_daemon.rewrite.keys import Block, Keys, Value, blocks
from cegid_daemon.rewrite.ports import Book
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Number, Record, plain
from cegid_daemon.rewrite.sums import summed
from cegid_daemon.rewrite.tally import Tally

Belongs = Callable[[str, str], None]
Applied = tuple[int | None, str]
"""The buffer that applies, and its level."""

VARIATION, PRODUCT, STORE, NONE = "Variation", "Product", "Store", "None"
KEYS_A_CALL = 1000

_NOT_DEFINED: Applied = (None, NONE)
_VALUE = re.compile(r"0*([0-9]+)", re.ASCII)
_MOST_DIGITS = 1000


@lru_cache(8192)
def parse(text: str) -> int | None:
    """The buffer that a typed text defines: zero or a positive integer, ASCII digits, blanks around them ignored.

    None = not defined (blank, negative, signed, decimal, wordy): the search goes on. A value of more than 1,000 digits
    is cut to that: no stock is as large, so the result is the same.
    """
    found = _VALUE.fullmatch(text.strip(numbers.BLANKS))
    return int(found[1][:_MOST_DIGITS]) if found else None


def apply(stock: Decimal | None, buffer: int | None) -> Decimal | None:
    """What may be sold of `stock` (None = blank) under `buffer` (None = no level defines one)."""
    if stock is None or buffer is None:
        return stock
    if stock <= buffer:
        return numbers.ZERO
    return numbers.OPERATIONS["sub"](stock, Decimal(buffer))


def stocked(
    records: Iterable[Record],
    layout: Layout,
    book: Book,
    tally: Tally,
    *,
    belongs: Belongs | None = None,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Iterator[Record]:
    """The records that go on, with `sku product stock raw_stock buffer buffer_level` where the layout names them.

    What does not go on is counted in `tally.left_out`: by the text of its skip expression, `no key`, `summed into one
    record`. `belongs` is told each (SKU, product) of a product file that the book's catalogue does not know; the same
    pair may come again. `scratch` opens an empty file for sums over more keys than memory should hold.
    """
    keys = Keys(layout, tally)
    wanted = keys.wanted(records)
    if not keys.any:
        yield from wanted
        return
    values = keys.values(wanted)
    if layout.sum_by:
        values = summed(values, layout, tally, scratch)
    rule = _Rule(layout, book)
    told = belongs if belongs is not None and keys.teaches else None
    for block in blocks(values):
        if told:
            teach(block.values, book, told)
        rule.settle(block)
        yield from block.records


def fed(
    records: Iterable[Record], layout: Layout, book: Book, tally: Tally, *, belongs: Belongs | None = None
) -> Iterator[tuple[str, str, str, int]]:
    """What a layout with `buffer` sets in the book: (level, key, value as typed, line).

    A row with a SKU of its own sets the variation, else the product; level is `variation` or `product`. Who takes the
    values counts them as sent.
    """
    keys = Keys(layout, tally)
    for block in blocks(keys.values(keys.wanted(records))):
        if belongs is not None:
            teach(block.values, book, belongs)
        for value, typed in keys.typed(block.values):
            if value.sku and value.sku != value.product:
                yield "variation", value.sku, typed, value.record.line
            else:
                yield "product", value.product or value.sku, typed, value.record.line


def teach(values: Sequence[Value], book: Book, belongs: Belongs) -> None:
    """Tells which SKU belongs to which product, where the file says so and the catalogue does not know."""
    pairs = {v.sku: v.product for v in values if v.sku and v.product and v.sku != v.product}
    known = _asked(book.catalogue, pairs)
    for sku, product in pairs.items():
        if known.get(sku) != product:
            belongs(sku, product)


@lru_cache(8192)
def _shown(stock: Decimal | None, buffer: int | None) -> tuple[Number, Number]:
    """The stock after and before buffering, as templates see it; the same few pairs come over and over."""
    return plain(apply(stock, buffer)), plain(stock)


class _Rule:
    """The buffer rule over one block of stock values after another."""

    def __init__(self, layout: Layout, book: Book) -> None:
        self._book = book
        self._applies = not layout.delta
        self._store = parse(book.store_buffer() or "")

    def settle(self, block: Block) -> None:
        """Sets the computed names on every record of the block that holds a stock value or a key."""
        applied = self._applied([value for value in block.values if value.stock is not None])
        for value in block.values:
            computed: dict[str, Any] = {"sku": value.sku, "product": value.product}
            if value.has_stock:
                buffer, level = _NOT_DEFINED
                if value.stock is not None:
                    buffer, level = applied.get((value.sku, value.product), _NOT_DEFINED)
                computed["stock"], computed["raw_stock"] = _shown(value.stock, buffer)
                computed["buffer"] = "" if buffer is None else buffer
                computed["buffer_level"] = level
            if len(computed) > len(value.names):
                computed = {name: computed[name] for name in computed if name in value.names}
            value.record.compute(computed, value.names)

    def _applied(self, values: Sequence[Value]) -> Mapping[tuple[str, str], Applied]:
        """Variation, Product, Store: the first level that defines a value, by (SKU, product)."""
        if not self._applies:
            return {}
        wanted = dict.fromkeys((value.sku, value.product) for value in values)
        variations = _defined(_asked(self._book.variations, {sku for sku, _ in wanted if sku}))
        owner = self._owners([pair for pair in wanted if pair[0] not in variations])
        products = _defined(_asked(self._book.products, set(owner.values()) - {""}))
        outside: Applied = (self._store, STORE) if self._store is not None else _NOT_DEFINED
        found: dict[tuple[str, str], Applied] = {}
        for pair in wanted:
            if pair[0] in variations:
                found[pair] = (variations[pair[0]], VARIATION)
            elif owner[pair] in products:
                found[pair] = (products[owner[pair]], PRODUCT)
            else:
                found[pair] = outside
        return found

    def _owners(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The product of each (SKU, product): the one the file names, else the catalogue's, else blank."""
        known = _asked(self._book.catalogue, {sku for sku, product in pairs if sku and not product})
        return {(sku, product): product or known.get(sku, "") for sku, product in pairs}


def _asked(ask: Callable[[Sequence[str]], Mapping[str, str]], keys: Iterable[str]) -> Mapping[str, str]:
    """The book's answer for any number of keys."""
    answer: dict[str, str] = {}
    remaining = iter(keys)
    while some := list(islice(remaining, KEYS_A_CALL)):
        answer.update(ask(some))
    return answer


def _defined(typed: Mapping[str, str]) -> dict[str, int]:
    """The values that define a buffer; the others are as if they were not there."""
    return {key: value for key, text in typed.items() if (value := parse(text)) is not None}
