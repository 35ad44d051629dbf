"""Keys, stock and buffers of records by column: what `keys` and `buffers` do one by one, for flat records by the sheet.

Owns how a layout's expression is evaluated over a column: once for each combination of texts it reads. What an
expression means, and the buffer rule, are asked of the rooms that own them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from cegid_daemon.rewrite import buffers
from cegid_daemon.rewrite.expressions import compile_condition, compile_stock, compile_text, field_of, fields_of
from cegid_daemon.rewrite.key_remarks import KeyRemarks
from cegid_daemon.rewrite.keys import Block, Key, Keys
from cegid_daemon.rewrite.ports import Book
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Number, Record
from cegid_daemon.rewrite.sheet import Sheet, sheets
from cegid_daemon.rewrite.sums import Scratch, summed
from cegid_daemon.rewrite.tally import NO_KEY, Tally

_T = TypeVar("_T", str, bool, Number)
_KEPT = 4_096  # combinations of texts an expression is remembered for

Keyed = tuple[Sheet, Sequence[Key]]
"""Records that go on, and the key of each."""


def stocked(
    found: Iterable[Sheet],
    layout: Layout,
    book: Book,
    tally: Tally,
    *,
    belongs: buffers.Belongs,
    scratch: Scratch,
) -> Iterator[Sheet]:
    """The records of a layout that travels, with what `buffers.stocked` computes; the others are counted in `tally`."""
    keys = Keys(layout, tally)
    keyed = _keyed(found, layout, keys, tally)
    if layout.sum_by:
        keyed = _summed(keyed, layout, keys, tally, scratch)
    rule = buffers.Rule(layout, book)
    for sheet, rows in keyed:
        if keys.teaches:
            buffers.teach(rows, book, belongs)
        yield replace(sheet, computed=_computed(rows, rule, keys.names))


def _keyed(found: Iterable[Sheet], layout: Layout, keys: Keys, tally: Tally) -> Iterator[Keyed]:
    skips = [(text, _column(text, layout, compile_condition)) for text in layout.skip]
    texts = [_column(text, layout, compile_text) for text in (keys.sku, layout.product)]
    stock = _column(keys.stock, layout, compile_stock)
    watch = KeyRemarks(layout, tally, stock=keys.stock)
    for sheet in found:
        wanted = sheet
        for text, leaves_out in skips:
            wanted = _without(wanted, leaves_out(wanted), text, tally)
        skus, products = ([key.strip() for key in column(wanted)] for column in texts)
        rows = list(zip(skus, products, stock(wanted), strict=True))
        if keys.sku or layout.product:
            keyless = [not sku and not product for sku, product, _ in rows]
            wanted = _without(wanted, keyless, NO_KEY, tally)
            rows = [row for row, left_out in zip(rows, keyless, strict=True) if not left_out] if any(keyless) else rows
        if rows:
            _watch(watch, wanted, rows)
            yield wanted, rows
    watch.finish()


def _watch(watch: KeyRemarks, sheet: Sheet, rows: Sequence[Key]) -> None:
    skus, products, _ = zip(*rows, strict=True)
    watch.see(skus, products, lambda: list(zip(sheet.numbers, sheet.lines, strict=True)))
    watch.see_records([_filled(sheet)])


def _filled(sheet: Sheet) -> list[str]:
    """The names of the fields that some record of the sheet has."""
    columns = zip(sheet.names, sheet.columns, strict=True)
    return [name for name, column in columns if any(text is not None for text in column)]


def _without(sheet: Sheet, left_out: Sequence[bool], reason: str, tally: Tally) -> Sheet:
    times = left_out.count(True)
    tally.left_out[reason] += times
    return sheet.only([not one for one in left_out]) if times else sheet


def _summed(keyed: Iterable[Keyed], layout: Layout, keys: Keys, tally: Tally, scratch: Scratch) -> Iterator[Keyed]:
    for block in summed(_blocks(keyed, keys), keys.values, layout, tally, scratch):
        rows = iter(block.own.rows)
        for sheet in sheets(record for record, *_ in block.own.rows):
            yield sheet, [next(rows)[1:] for _ in range(len(sheet))]


def _blocks(keyed: Iterable[Keyed], keys: Keys) -> Iterator[Block]:
    for sheet, rows in keyed:
        values = keys.values()
        values.rows.extend((record, *row) for record, row in zip(sheet.records(Record), rows, strict=True))
        yield Block(values)


def _computed(rows: Sequence[Key], rule: buffers.Rule, names: frozenset[str]) -> dict[str, Sequence[object]]:
    skus, products, stocks = zip(*rows, strict=True)
    applied = rule.applied(rows)
    computed: dict[str, Sequence[object]] = {
        "sku": skus,
        "product": products,
        "stock": [buffers.apply(stock, buffer) for stock, (buffer, _) in zip(stocks, applied, strict=True)],
        "raw_stock": stocks,
        "buffer": ["" if buffer is None else buffer for buffer, _ in applied],
        "buffer_level": [level for _, level in applied],
    }
    return {name: column for name, column in computed.items() if name in names}


def _column(
    text: str, layout: Layout, compiler: Callable[[str, Layout], Callable[[Record], _T]]
) -> Callable[[Sheet], Sequence[_T]]:
    """An expression over all records of a sheet. A fault is that of the first record that has it."""
    of_record = compiler(text or "''", layout)
    if not text:
        blank = of_record(Record())
        return lambda sheet: [blank] * len(sheet)
    if compiler is compile_text and (name := field_of(text, layout)):
        return lambda sheet: [one or "" for one in sheet.column(name)]  # type: ignore[misc]  # text, as asked for
    fields = sorted(fields_of(text, layout))
    known: dict[tuple[str | None, ...], _T] = {}

    def evaluate(sheet: Sheet) -> Sequence[_T]:
        columns = [sheet.column(name) for name in fields] or [[None] * len(sheet)]
        values: list[_T | None] = list(map(known.get, zip(*columns, strict=True)))
        for at in [at for at, value in enumerate(values) if value is None]:
            texts = tuple(column[at] for column in columns)
            if texts not in known:
                if len(known) >= _KEPT:
                    known.clear()
                known[texts] = of_record(sheet.record(at))
            values[at] = known[texts]
        return values  # type: ignore[return-value]  # none is left

    return evaluate
