"""Several record types in one file (`CCM` + `CCL` + `ADR`): one record per group of rows.

A group starts at the head type (`head`, or the first of `types`); its fields are the record's, `r.each('CCL')` gives
the rows of a type. The type stands in the first column and is no field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from cegid_daemon.errors import ANYTHING, BadInput, Place, TemplateFault
from cegid_daemon.rewrite.layouts import bounds
from cegid_daemon.rewrite.layouts.delimited import broken_row
from cegid_daemon.rewrite.layouts.rows import cells, rows
from cegid_daemon.rewrite.layouts.skipped import refuse_swallowed, remark_skipped
from cegid_daemon.rewrite.layouts.text import Source
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally


class Group(Record):
    """The record of a group of rows."""

    def each(self, path: str) -> Sequence[Record]:
        """The rows of a type; raises `TemplateFault` for a type that the layout does not have inside a group."""
        found = (self._inner or {}).get(path)
        if found is None:
            raise TemplateFault(
                f"there is no record type {path!r} inside a record",
                why=f"the layout has {', '.join(self._inner or ()) or 'none'}",
                remedy="Correct the name in the template, or the layout's types.",
            )
        return found


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Record]:
    """The groups of a multi-record file."""
    head = layout.head or next(iter(layout.types))
    group: Record | None = None
    held = 0  # rows inside the group
    for line, row in rows(layout, source, tally):
        kind = row[0].strip()
        record = _row(layout, kind, line, row, Group if kind == head else Record)
        if kind == head:
            if group is not None:
                yield group
            elif tally.skipped:
                refuse_swallowed(layout, tally, row, partial(cells, layout))
            tally.read += 1
            held = 0
            group, record.number = record, tally.read
            inner: dict[str, list[Record]] = {name: [] for name in layout.types if name != head}
            for name, members in inner.items():
                record.hold(name, members)
        elif group is None:
            raise _misplaced(line, f"a row of type {kind} stands before the first {head}")
        elif (held := held + 1) > bounds.MOST_ROWS:
            raise bounds.exceeded("a record has too many rows", bounds.MOST_ROWS, "rows", line=group.line)
        else:
            record.parent = group
            inner[kind].append(record)
    if group is not None:
        yield group
    remark_skipped(layout, tally, lambda line: _is_row(layout, cells(layout, line.text)))


def _is_row(layout: Layout, row: Sequence[str]) -> bool:
    columns = layout.types.get(row[0].strip()) if row else None
    return columns is not None and len(row) == len(columns) + 1


def _row(layout: Layout, kind: str, line: int, row: Sequence[str], kind_of_record: type[Record]) -> Record:
    columns = layout.types.get(kind)
    if columns is None:
        error = _misplaced(line, f"the record type {kind[:20]!r} is not one of {', '.join(layout.types)}")
        raise error.quoting(ANYTHING, f"the record type is not one of {', '.join(layout.types)}")
    if len(row) != len(columns) + 1:
        raise broken_row(line, row, len(columns) + 1)
    values = ((name, text if name in layout.untrimmed else text.strip()) for name, text in zip(columns, row[1:]))  # noqa: B905  # counted above
    record = kind_of_record(values)
    record.line = line
    return record


def _misplaced(line: int, what: str) -> BadInput:
    return BadInput(what, where=Place(line=line), remedy="Correct the layout's types, or have the sender correct it")
