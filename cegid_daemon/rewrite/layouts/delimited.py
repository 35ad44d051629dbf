"""Rows with a separator, under a title row or columns named by the layout.

A row with too many or too few values fails the file with its line: a separator inside a label cannot be told from a
separator, and nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from cegid_daemon.errors import ANYTHING, BadInput, Place
from cegid_daemon.rewrite.layouts import bounds
from cegid_daemon.rewrite.layouts.rows import cells, rows
from cegid_daemon.rewrite.layouts.skipped import TITLE_ROW, like_records, refuse_swallowed, remark_skipped
from cegid_daemon.rewrite.layouts.text import Source
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.remarks import shortened
from cegid_daemon.rewrite.tally import Tally


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Record]:
    """The records of a delimited file."""
    found = rows(layout, source, tally)
    title_row = _titles(found, layout, tally) if layout.header else []
    columns = layout.columns or tuple(title.strip() for title in title_row)
    repeated = [[title.strip() for title in row] for row in (title_row, columns) if row]
    beginnings = {row[0] for row in repeated}
    width = len(columns)
    kept = [(place, name) for place, name in enumerate(columns) if name in layout.untrimmed]
    strip, first = str.strip, list[str]()
    for number, (line, row) in enumerate(found, 1):
        if len(row) != width:
            raise broken_row(line, row, width)
        if row[0].strip() in beginnings and [value.strip() for value in row] in repeated:
            again = Record(zip(columns, row, strict=False))
            again.number, again.line = number, line
            tally.repeat_titles(again, layout.delimiter.join(row))
            continue
        if number == 1:
            first = row
            refuse_swallowed(layout, tally, row, partial(cells, layout))
        record = Record(zip(columns, map(strip, row), strict=False))
        for place, name in kept:
            record[name] = row[place]
        record.number, record.line = number, line
        tally.read = number
        yield record
    remark_skipped(layout, tally, like_records(layout, tally, partial(_whole_cells, layout, width), first))


def _whole_cells(layout: Layout, width: int, line: str) -> list[str]:
    row = cells(layout, line)
    return row if len(row) == width else []


def _titles(found: Iterator[tuple[int, list[str]]], layout: Layout, tally: Tally) -> list[str]:
    """The title row as it stands; where the layout names the columns itself, it is only passed over."""
    line, row = next(found, (0, list[str]()))
    if len(row) > bounds.MOST_COLUMNS:
        raise bounds.exceeded("the title row has too many columns", bounds.MOST_COLUMNS, "columns", line=line)
    columns = tuple(title.strip() for title in row)
    if layout.columns and row:
        tally.skip(line, TITLE_ROW, layout.delimiter.join(row))
    twice = [] if layout.columns else [title for title, times in Counter(columns).items() if times > 1]
    if twice:
        name = shortened(twice[0])
        raise BadInput(
            f"the title row names {name!r} twice" if name else "two columns have no title",
            where=Place(line=line, field=name),
            remedy="Have the sender correct the title row, or name the columns in the layout",
        ).quoting(ANYTHING, "the title row names a column twice")
    return row


def broken_row(line: int, row: Sequence[str], width: int) -> BadInput:
    """The error for a row that has not as many values as there are columns."""
    return BadInput(
        "a row has too many columns" if len(row) > width else "a row has too few columns",
        where=Place(line=line),
        why=f"it has {len(row)} and {width} were expected; it starts with {row[0][:40]!r}",
        remedy="Have the sender correct the row; a separator inside a label breaks it",
    )
