"""One record a key, its stock the sum over the rows that share it (`sum_by`).

Owns the adding up in bounded memory: the first keys stay in a dict, rows of later ones go to scratch files by the hash
of their key, each small enough to be summed in turn. The order of the records depends on the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import IO
from zlib import crc32

from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.rewrite.keys import Value
from cegid_daemon.rewrite.numbers import OPERATIONS, plain_text
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import SUMMED, Tally

KEPT = 20_000  # keys held in memory at a time
FILES = 16  # scratch files the others are dealt to

Scratch = Callable[[], IO[bytes]]


def summed(values: Iterable[Value], layout: Layout, tally: Tally, scratch: Scratch) -> Iterator[Value]:
    """One value a key: the fields of its first row, the stock of all; the other rows are left out as summed.

    Summed over the SKU (a row without one: over its product), or over the product. Blank stock counts 0; all blank is
    blank. Inner records are not kept.
    """
    if layout.sum_by not in ("sku", "product"):
        raise ConfigurationError(
            f"layout {layout.name!r} cannot sum by {layout.sum_by!r}",
            where=Place(field="sum_by"),
            remedy='Use "sku" or "product"',
        )
    return _Sum(layout.sum_by == "product", tally, scratch).over(map(_flat, values), 0)


class _Sum:
    def __init__(self, by_product: bool, tally: Tally, scratch: Scratch) -> None:
        self._by_product, self._tally, self._scratch = by_product, tally, scratch
        self._names: tuple[frozenset[str], bool] = (frozenset(), False)  # the same for all values of a file

    def over(self, values: Iterable[Value], depth: int) -> Iterator[Value]:
        kept: dict[str, Value] = {}
        files: list[IO[bytes]] = []
        times = 0
        for value in values:
            key = self._key(value)
            first = kept.get(key)
            if first is not None:
                first.stock = _plus(first.stock, value.stock)
                times += 1
            elif len(kept) < KEPT:
                kept[key] = value
            else:
                self._names = (value.names, value.has_stock)
                files = files or [self._scratch() for _ in range(FILES)]
                files[crc32(f"{depth}{key}".encode()) % FILES].write(_packed(value))
        self._tally.left_out[SUMMED] += times
        yield from kept.values()
        kept.clear()
        for file in files:
            with file:
                file.seek(0)
                yield from self.over((_unpacked(line, *self._names) for line in file), depth + 1)

    def _key(self, value: Value) -> str:
        if self._by_product:
            return f"p{value.product}" if value.product else f"s{value.sku}"
        return f"s{value.sku}" if value.sku else f"p{value.product}"


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return other if one is None else one
    return OPERATIONS["add"](one, other)


def _flat(value: Value) -> Value:
    if type(value.record) is not Record:
        record = Record(value.record)
        record.number, record.line = value.record.number, value.record.line
        value.record = record
    return value


def _packed(value: Value) -> bytes:
    stock = None if value.stock is None else plain_text(value.stock)
    row = (value.record, value.record.number, value.record.line, value.sku, value.product, stock)
    return json.dumps(row).encode() + b"\n"


def _unpacked(line: bytes, names: frozenset[str], has_stock: bool) -> Value:
    fields, number, at, sku, product, stock = json.loads(line)
    record = Record(fields)
    record.number, record.line = number, at
    return Value(record, sku, product, None if stock is None else Decimal(stock), names, has_stock)
