"""CSV that a person opens: no cell of it is a formula, and what is read back is what was written.

Owns the one guard for all of them. A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula,
whatever unseen stands before it; a quotation mark ahead makes it text. A spreadsheet that is set to another separator
finds more cells: behind each `,`, `;`, tab and line end in a text. An import takes off exactly the marks that were
put there. CSV that machines read (deliveries, templates) does not come by here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

MARK = "'"
_BEGINS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_FORMULA = rf"[\t\r\n]|\s*{_BEGINS}"
_BARE = re.compile(rf"{MARK}*(?:{_FORMULA})")
_GUARDED = re.compile(rf"{MARK}(?={MARK}*(?:{_FORMULA}))")
_AHEAD = re.compile(rf"{MARK}*\s*")  # of the first cell; what is behind it may hold further ones
_SEPARATOR = r"(?<=[,;\t\r\n])"
_FURTHER = rf"{MARK}*(?:[^\S\t\r\n]|\")*{_BEGINS}"
_FURTHER_BARE = re.compile(rf"{_SEPARATOR}(?={_FURTHER})")
_FURTHER_GUARDED = re.compile(rf"{_SEPARATOR}{MARK}(?={_FURTHER})")


class _Text(Protocol):
    def write(self, text: str, /) -> object:
        """Takes text."""


class SheetWriter:
    """Writes rows whose cells are guarded."""

    def __init__(self, file: _Text, *, delimiter: str = ",", line_end: str = "\n") -> None:
        self._plain = csv.writer(file, delimiter=delimiter, lineterminator=line_end)
        self._quoting = csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)

    def writerow(self, row: Sequence[object]) -> None:
        """Writes one row; None is a blank cell."""
        cells = [guarded(cell) if isinstance(cell, str) else cell for cell in row]
        unquoted = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # which ends a row where it is bare
        (self._quoting if unquoted else self._plain).writerow(cells)

    def writerows(self, rows: Iterable[Sequence[object]]) -> None:
        """Writes some rows."""
        for row in rows:
            self.writerow(row)


def guarded(text: str) -> str:
    """A cell that no spreadsheet takes for a formula, whatever separates its cells."""
    mark = MARK if _BARE.match(text) else ""
    ahead, behind = _halves(text)
    return f"{mark}{ahead}{_FURTHER_BARE.sub(MARK, behind)}"


def unguarded(cell: str) -> str:
    """The text of which `guarded` made this cell."""
    ahead, behind = _halves(cell[len(MARK) :] if _GUARDED.match(cell) else cell)
    return f"{ahead}{_FURTHER_GUARDED.sub('', behind)}"


def _halves(text: str) -> tuple[str, str]:
    """What stands ahead of the first cell's text, and all behind it; no mark that is put or taken moves the border."""
    found = _AHEAD.match(text)
    assert found is not None  # it matches nothing at all, too
    return text[: found.end()], text[found.end() :]
