"""Lines to rows: numbered, cut at the separator, the file's own proof of completeness taken out.

Owns what is common to the text layouts: line numbers, lead lines, empty lines at the end, trailer and declared count.
Never knows the names of columns.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from cegid_daemon.errors import ANYTHING, NOTHING, BadInput, Place
from cegid_daemon.rewrite.expressions import compile_number
from cegid_daemon.rewrite.layouts import bounds
from cegid_daemon.rewrite.layouts.skipped import LEAD, TRAILER
from cegid_daemon.rewrite.layouts.text import LONGEST_LINE, Source, lines
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally
from cegid_daemon.rewrite.words import text

Line = tuple[int, str]

MOST_BLANK = 10_000  # blank lines in a row; they are kept until it is known whether a filled one follows


def numbered(layout: Layout, source: Source, tally: Tally) -> Iterator[Line]:
    """The lines that hold titles and records, numbered from 1 in the file.

    Lead lines and the trailer are taken out, and told to the tally. At the end the proof is checked: the count against
    `tally.read`.
    """
    found = _filled(lines(source, layout.encoding, tally))
    lead = list(islice(found, layout.lead))
    for number, text_of_line in lead:
        tally.skip(number, LEAD, text_of_line)
    if len(lead) < layout.lead and any(source()):
        raise _shorter_than_lead(layout.lead, len(lead))
    if layout.proof is None:
        yield from found
        return
    last: Line | None = None
    if layout.proof.trailer:
        for line in found:
            if last is not None:
                raise _incomplete("lines follow the trailer", f"line {last[0]} is the trailer", line[0])
            if line[1].startswith(layout.proof.trailer):
                last = line
                tally.skip(line[0], TRAILER, line[1])
            else:
                yield line
        if last is None and (tally.read or lead):
            raise _incomplete("the trailer is missing", f"no line starts with {layout.proof.trailer!r}")
    else:
        yield from found
    declaring = last or (lead[0] if lead else None)
    if declaring and layout.proof.count:
        _check_count(layout, declaring, tally.read)


def _filled(blocks: Iterable[list[str]]) -> Iterator[Line]:
    """Numbered lines; blank ones are passed on only if a filled one follows."""
    number, blank, size = 0, list[Line](), 0
    for block in blocks:
        for line in block:
            number += 1
            if not line or line.isspace():
                blank.append((number, line))
                size += len(line)
                if len(blank) > MOST_BLANK or size > LONGEST_LINE:
                    raise _mostly_blank(len(blank), number)
                continue
            if blank:
                yield from blank
                blank.clear()
                size = 0
            yield number, line


def _mostly_blank(count: int, number: int) -> BadInput:
    return _incomplete("the file is mostly blank lines", f"{count} of them follow each other", number)


def _check_count(layout: Layout, line: Line, read: int) -> None:
    assert layout.proof is not None
    r = Record({"text": line[1]} | _by_place(line[1], layout.delimiter))
    r.line = line[0]
    declared = compile_number(layout.proof.count, layout, r.keys())(r)
    if declared != read:
        why = f"it declares {text(declared) or 'no number of'} records and holds {read}"
        raise _incomplete("the file is not whole", why, line[0]).quoting(ANYTHING)


def _by_place(line: str, delimiter: str) -> dict[str, str]:
    return {str(place): part.strip() for place, part in enumerate(line.split(delimiter, bounds.MOST_COLUMNS), 1)}


def _shorter_than_lead(lead: int, found: int) -> BadInput:
    return BadInput(
        f"the file has fewer lines than the {lead} that lead skips",
        where=Place(line=found, field="lead"),
        why=f"it has {found} with text, so what the layout expects ahead of the records is missing, or the records are",
        remedy="Have the sender send the whole file again, or correct lead in the layout",
    ).quoting(NOTHING)


def _incomplete(what: str, why: str, line: int = 0) -> BadInput:
    error = BadInput(what, where=Place(line=line), why=why, remedy="Have the sender send the file again")
    return error.quoting(NOTHING)


_UNCLOSED = "Have the sender correct the row: a quotation mark may not be closed"


def quoted(found: Iterator[Line], layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Rows whose values may stand in quotes; a quoted value may hold the separator and line breaks."""
    begins, size = 0, 0  # the row at hand: its line, its characters

    def texts() -> Iterator[str]:
        nonlocal begins, size
        for number, line in found:
            begins, size = begins or number, size + len(line)
            if size > LONGEST_LINE:
                raise bounds.exceeded(
                    "a quoted row never ends", LONGEST_LINE, "characters", line=begins, remedy=_UNCLOSED
                )
            yield line + "\n"

    reader = csv.reader(texts(), delimiter=layout.delimiter, quotechar=layout.quote, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            where = Place(line=begins)
            broken = BadInput("a quoted row is broken", where=where, why=str(error), remedy=_UNCLOSED)
            raise broken.quoting(NOTHING) from error
        if row is None:
            return
        yield begins, row or [""]
        begins = size = 0


def plain(found: Iterator[Line], layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Rows cut at the separator, wherever it stands."""
    delimiter = layout.delimiter
    return ((number, line.split(delimiter)) for number, line in found)


def rows(layout: Layout, source: Source, tally: Tally) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold titles and records, with their line; values as they stand."""
    return _cut(layout)(numbered(layout, source, tally), layout)


def cells(layout: Layout, line: str) -> list[str]:
    """The values of one line; none where it is no whole row."""
    try:
        return next(_cut(layout)(iter([(1, line)]), layout), (1, list[str]()))[1]
    except BadInput:
        return []


def _cut(layout: Layout) -> Callable[[Iterator[Line], Layout], Iterator[tuple[int, list[str]]]]:
    return quoted if layout.quote else plain
