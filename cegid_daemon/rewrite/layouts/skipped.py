"""Lines that the layout says are no records (lead, a title row that is passed over, trailer), and may be one.

Owns what is a fault (the line is of the shape of the record behind it, so a line of the file is missing) and what is a
remark (it could be a record).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cegid_daemon.errors import BadInput, Place
from cegid_daemon.rewrite.numbers import reader
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.remarks import SKIPPED_RECORD
from cegid_daemon.rewrite.tally import Tally

LEAD, TITLE_ROW, TRAILER = "lead", "title row", "trailer"  # what a skipped line is taken for

_NUMBER = "number"
_SHORT = 5  # digits; a longer number is a code, and one EAN has as many as the next

Cells = Callable[[str], Sequence[str]]
"""The values of a line; none where it cannot be a row."""


def refuse_swallowed(layout: Layout, tally: Tally, record: Sequence[str], cells: Cells) -> None:
    """Raises `BadInput` if a line skipped ahead of the first record is of its very shape: it is a record itself.

    `record`: the values of the first record. A line that declares a count by the layout's proof is trusted.
    """
    shape = _shape(layout, record)
    if len(record) < 2 or not any(one > _NUMBER for one in shape):
        return  # a counter line may well look like this
    for line in tally.skipped:
        if not (line.taken_for == _declaring(layout) == LEAD) and _shape(layout, cells(line.text)) == shape:
            key = "lead" if line.taken_for == LEAD else "header"
            raise BadInput(
                f"a record stands where {key} expects a {'counter' if key == 'lead' else 'title row'}",
                where=Place(line=line.line, field=key),
                why=f"the line skipped looks as the record behind it does, and would be lost: {line.text[:80]!r}",
                remedy=f"Have the sender send the file with the line that is missing, or correct {key} in the layout.",
            )


def remark_skipped(layout: Layout, tally: Tally, could_be_record: Callable[[str], bool]) -> None:
    """Remarks on skipped lines that could be a record; the line that declares how many there are is none."""
    declaring = _declaring(layout)
    for line in tally.skipped:
        if line.taken_for == declaring:
            declaring = ""
        elif could_be_record(line.text):
            tally.remarks.add(SKIPPED_RECORD, line=line.line, field=line.taken_for, value=line.text)


def holds_number(layout: Layout) -> Callable[[Sequence[str]], bool]:
    """Whether one of some texts is a number of this layout: titles seldom are."""
    read = reader(layout.decimal)

    def is_number(cell: str) -> bool:
        try:
            return read(cell) is not None
        except ValueError:
            return False

    return lambda cells: any(map(is_number, cells))


def _declaring(layout: Layout) -> str:
    proof = layout.proof
    return (TRAILER if proof.trailer else LEAD) if proof and proof.count else ""


def _shape(layout: Layout, cells: Sequence[str]) -> list[str]:
    """Of each value what it is made of: a long number by its digits, a short one, a text, nothing."""
    has_number = holds_number(layout)
    return [_shape_of(cell.strip(), has_number) for cell in cells]


def _shape_of(cell: str, has_number: Callable[[Sequence[str]], bool]) -> str:
    if has_number((cell,)):
        return f"{_NUMBER} of {len(cell)} digits" if cell.isdigit() and len(cell) > _SHORT else _NUMBER
    return "a text" if cell else ""
