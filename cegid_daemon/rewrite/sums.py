"""One record a key, its stock the sum over the rows that share it (`sum_by`).

Owns the adding up in bounded memory: the first keys stay in a dict, rows of later ones go to scratch files by the hash
of their key, each small enough to be summed in turn. The order of the records depends on the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import IO
from zlib import crc32

from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.rewrite.keys import BLOCK, Block, Row, Values
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.numbers import OPERATIONS
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Number, Record, plain
from cegid_daemon.rewrite.tally import SUMMED, Tally

KEPT = 20_000  # keys held in memory at a time
FILES = 16  # scratch files the others are dealt to

Scratch = Callable[[], IO[bytes]]


def summed(
    blocks: Iterable[Block], room: Callable[[], Values], layout: Layout, tally: Tally, scratch: Scratch
) -> Iterator[Block]:
    """One value a key: the fields of its first row, the stock of all; the other rows are left out as summed.

    Summed over the SKU (a row without one: over its product), or over the product. Blank stock counts 0; all blank is
    blank. Inner records are not kept. `room` gives the place for the values of a block.
    """
    if layout.sum_by not in ("sku", "product"):
        raise ConfigurationError(
            f"layout {layout.name!r} cannot sum by {layout.sum_by!r}",
            where=Place(field="sum_by"),
            remedy='Use "sku" or "product"',
        )
    rows = (row for block in blocks for row in block.own.rows)
    sums = _Sum(layout.sum_by == "product", tally, scratch).over(rows, 0)
    while some := list(islice(sums, BLOCK)):
        values = room()
        values.rows.extend(some)
        yield Block(values)


class _Sum:
    def __init__(self, by_product: bool, tally: Tally, scratch: Scratch) -> None:
        self._by_product, self._tally, self._scratch = by_product, tally, scratch

    def over(self, rows: Iterable[Row], depth: int) -> Iterator[Row]:
        kept: dict[str, Row] = {}
        files: list[IO[bytes]] = []
        times = 0
        for row in rows:
            record, sku, product, stock = row
            key = self._key(sku, product)
            first = kept.get(key)
            if first is not None:
                kept[key] = (*first[:3], _plus(first[3], stock))
                times += 1
            elif len(kept) < KEPT:
                kept[key] = (_flat(record), sku, product, stock)
            else:
                files = files or [self._scratch() for _ in range(FILES)]
                files[crc32(f"{depth}{key}".encode()) % FILES].write(_packed(row))
        self._tally.left_out[SUMMED] += times
        yield from kept.values()
        kept.clear()
        for file in files:
            with file:
                file.seek(0)
                yield from self.over(map(_unpacked, file), depth + 1)

    def _key(self, sku: str, product: str) -> str:
        if self._by_product:
            return f"p{product}" if product else f"s{sku}"
        return f"s{sku}" if sku else f"p{product}"


def _plus(one: Number, other: Number) -> Number:
    if isinstance(one, str) or isinstance(other, str):
        return other if isinstance(one, str) else one
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return plain(OPERATIONS["add"](Decimal(one), Decimal(other)))


def _flat(record: Record) -> Record:
    """The record without what stands inside it, which would hold the file in memory."""
    if type(record) is Record:
        return record
    flat = Record(record)
    flat.number, flat.line = record.number, record.line
    return flat


def _packed(row: Row) -> bytes:
    record, sku, product, stock = row
    fields = {name: [text.line] if text.__class__ is NestedText else text for name, text in record.items()}
    return json.dumps((fields, record.number, record.line, sku, product, str(stock))).encode() + b"\n"


def _unpacked(line: bytes) -> Row:
    fields, number, at, sku, product, stock = json.loads(line)
    record = Record(
        {name: NestedText(name, text[0], number) if isinstance(text, list) else text for name, text in fields.items()}
    )
    record.number, record.line = number, at
    return record, sku, product, plain(Decimal(stock) if stock else None)
