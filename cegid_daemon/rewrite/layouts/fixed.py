"""Fixed-width lines, cut by characters.

`head` proves characters 1-3; the mark in position 6 is `r['@mark']` and leaves nothing out by itself. A sender may cut
blanks at the end of a line: fields behind it are blank, but a line that ends before a field that `sku`, `product` or
`stock` reads is broken, and so is a last line without an end that is short (the file was cut off).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from cegid_daemon.errors import NOTHING, BadInput, Place
from cegid_daemon.rewrite.expressions import fields_of
from cegid_daemon.rewrite.layouts.rows import numbered
from cegid_daemon.rewrite.layouts.skipped import like_records, refuse_swallowed, remark_skipped
from cegid_daemon.rewrite.layouts.text import Source, Unended
from cegid_daemon.rewrite.recipe import Field, Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

MARK_AT = 6


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Record]:
    """The records of a fixed-width file."""
    head, least = layout.head, _least(layout)
    full = max([least, *(field.at - 1 + field.width for field in layout.fields)])
    trimmed = [(f.name, f.at - 1, f.at - 1 + f.width) for f in layout.fields if _trims(layout, f)]
    cells = partial(_cells, layout, least)
    whole = [(f.name, f.at - 1, f.at - 1 + f.width) for f in layout.fields if not _trims(layout, f)]
    first: list[str] = []
    for number, (line_no, line) in enumerate(numbered(layout, source, tally), 1):
        if len(line) < full and (len(line) < least or isinstance(line, Unended)):
            raise _short(layout, line_no, line, least)
        if not line.startswith(head):
            raise _headless(head, line_no, line)
        if number == 1:
            first = cells(line)
            refuse_swallowed(layout, tally, first, cells)
        record = Record({name: line[start:end].strip() for name, start, end in trimmed})
        for name, start, end in whole:
            record[name] = line[start:end].ljust(end - start)
        if head:
            record["@mark"] = line[MARK_AT - 1 : MARK_AT].strip()
        record.number, record.line = number, line_no
        tally.read = number
        yield record
    remark_skipped(layout, tally, like_records(layout, tally, cells, first))


def _cells(layout: Layout, least: int, line: str) -> list[str]:
    """The fields of a line that could be a record; none where it is too short, or begins otherwise."""
    if len(line) < least or not line.startswith(layout.head):
        return []
    return [line[field.at - 1 : field.at - 1 + field.width] for field in layout.fields]


def _trims(layout: Layout, field: Field) -> bool:
    return field.trim and field.name not in layout.untrimmed


def _least(layout: Layout) -> int:
    """How many characters a line has at least: it reaches every field that key or stock stand in."""
    texts = [layout.sku, layout.product, layout.stock]
    needed = {name for text in texts if text for name in fields_of(text, layout)}
    return max((field.at for field in layout.fields if field.name in needed), default=MARK_AT if layout.head else 1)


def _short(layout: Layout, line_no: int, line: str, least: int) -> BadInput:
    missing = next((field.name for field in layout.fields if field.at == least), "")
    return BadInput(
        "a line is too short",
        where=Place(line=line_no, field=missing),
        why=f"the file ends inside it, at character {len(line)}"
        if isinstance(line, Unended)
        else f"it ends at character {len(line)}, before character {least}",
        remedy="Have the sender send the file again, or correct the layout",
    ).quoting(NOTHING)


def _headless(head: str, line_no: int, line: str) -> BadInput:
    return BadInput(
        f"a line does not start with {head!r}",
        where=Place(line=line_no),
        why=f"it starts with {line[: len(head)]!r}",
        remedy="Check that the right file was sent, and the layout's head",
    )
