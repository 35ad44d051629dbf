"""Lines to rows: numbered, cut at the separator, the file's own proof of completeness taken out.

Owns what is common to the text layouts: line numbers, lead lines, empty lines at the end, trailer and declared count.
Never knows the names of columns.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice

from cegid_daemon.errors import BadInput, Place
from cegid_daemon.rewrite.expressions import compile_number
from cegid_daemon.rewrite.layouts.text import Source, lines
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally
from cegid_daemon.rewrite.words import text

Line = tuple[int, str]

MOST_BLANK = 10_000  # blank lines in a row; they are kept until it is known whether a filled one follows


def numbered(layout: Layout, source: Source, tally: Tally) -> Iterator[Line]:
    """The lines that hold titles and records, numbered from 1 in the file.

    Lead lines and the trailer are taken out. At the end the proof is checked: the count against `tally.read`.
    """
    found = _filled(lines(source, layout.encoding))
    lead = list(islice(found, layout.lead))
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
    number, blank = 0, list[Line]()
    for block in blocks:
        for line in block:
            number += 1
            if not line or line.isspace():
                blank.append((number, line))
                if len(blank) > MOST_BLANK:
                    raise _incomplete(
                        "the file is mostly blank lines", f"{MOST_BLANK} of them follow each other", number
                    )
                continue
            if blank:
                yield from blank
                blank.clear()
            yield number, line


def _check_count(layout: Layout, line: Line, read: int) -> None:
    assert layout.proof is not None
    r = Record({"text": line[1]} | _by_place(line[1], layout.delimiter))
    r.line = line[0]
    declared = compile_number(layout.proof.count, layout, r.keys())(r)
    if declared != read:
        why = f"it declares {text(declared) or 'no number of'} records and holds {read}"
        raise _incomplete("the file is not whole", why, line[0])


def _by_place(line: str, delimiter: str) -> dict[str, str]:
    return {str(place): part.strip() for place, part in enumerate(line.split(delimiter), 1)}


def _incomplete(what: str, why: str, line: int = 0) -> BadInput:
    return BadInput(what, where=Place(line=line), why=why, remedy="Have the sender send the file again")


def quoted(found: Iterator[Line], layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Rows whose values may stand in quotes; a quoted value may hold the separator and line breaks."""
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for number, line in found:
            taken.append(number)
            yield line + "\n"

    reader = csv.reader(texts(), delimiter=layout.delimiter, quotechar=layout.quote, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            where = Place(line=taken[0] if taken else 0)
            remedy = "Have the sender correct the row"
            raise BadInput("a quoted row is broken", where=where, why=str(error), remedy=remedy) from error
        if row is None:
            return
        yield taken[0], row or [""]
        taken.clear()


def plain(found: Iterator[Line], layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Rows cut at the separator, wherever it stands."""
    delimiter = layout.delimiter
    return ((number, line.split(delimiter)) for number, line in found)


def rows(layout: Layout, source: Source, tally: Tally) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold titles and records, with their line; values as they stand."""
    cut = quoted if layout.quote else plain
    return cut(numbered(layout, source, tally), layout)
