"""Lines that the layout says are no records (lead, a title row that is passed over, trailer), and may be one.

Owns what is a fault (the line is of the shape of the record behind it, so a line of the file is missing) and what is a
remark (it could be a record).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cegid_daemon.coverage import SkippedLine
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
    if not tally.skipped:
        return
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


def remark_skipped(layout: Layout, tally: Tally, could_be_record: Callable[[SkippedLine], bool]) -> None:
    """Remarks on skipped lines that could be a record; the line that declares how many there are is none."""
    declaring = _declaring(layout)
    for line in tally.skipped:
        if line.taken_for == declaring:
            declaring = ""
        elif could_be_record(line):
            tally.remarks.add(SKIPPED_RECORD, line=line.line, field=line.taken_for, value=line.text)


def like_records(layout: Layout, tally: Tally, cells: Cells, record: Sequence[str]) -> Callable[[SkippedLine], bool]:
    """Whether a skipped line could be a record: a number stands in it, and it is no counter line.

    `cells`: the values of a line that is as wide as a record; `record`: those of the first record, if there is one.
    """
    has_number = holds_number(layout)

    def is_like(line: SkippedLine) -> bool:
        found = [cell.strip() for cell in cells(line.text)]
        counts = line.taken_for == LEAD and _counts(found, tally.read)
        return has_number(found) and not _differs(found, record) and not counts

    return is_like


def _differs(cells: Sequence[str], record: Sequence[str]) -> bool:
    """Whether a word stands where the first record has a long number, or a long number where it has a short one."""
    pairs = [(cell, one.strip()) for cell, one in zip(cells, record, strict=False)]
    return any(
        (_is_word(cell) and _is_code(one)) or (_is_code(cell) and one.isdigit() and not _is_code(one))
        for cell, one in pairs
    )


def _is_word(cell: str) -> bool:
    return bool(cell) and not any(map(str.isdigit, cell))


def _is_code(cell: str) -> bool:
    return cell.isdigit() and len(cell) > _SHORT


def _counts(cells: Sequence[str], read: int) -> bool:
    """Whether words and the number of records stand in the line, and nothing else."""
    numbers = [cell for cell in cells if cell and not _is_word(cell)]
    return len(numbers) == 1 and numbers[0].isdigit() and int(numbers[0]) == read


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
        return f"{_NUMBER} of {len(cell)} digits" if _is_code(cell) else _NUMBER
    return "a text" if cell else ""
