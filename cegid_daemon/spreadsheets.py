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
_SEPARATES = r"\t\r\n"
_BLANK = rf"(?![{_SEPARATES}])[\s\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff]"
_FIRST = rf"{MARK}*(?:{_BLANK})*(?:{_BEGINS}|[{_SEPARATES}])"
_FURTHER = rf"{MARK}*(?:\"|{_BLANK})*{_BEGINS}"
_SEPARATOR = rf"(?<=[,;{_SEPARATES}])"
_BARE = re.compile(rf"\A(?={_FIRST})|{_SEPARATOR}(?={_FURTHER})")
_GUARDED = re.compile(rf"\A{MARK}(?={_FIRST})|{_SEPARATOR}{MARK}(?={_FURTHER})")
"""What begins a cell reaches to its first separator only, and a mark separates nothing: so none that is put or taken
changes whether another cell has one."""


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
    return _BARE.sub(MARK, text)


def unguarded(cell: str) -> str:
    """The text of which `guarded` made this cell."""
    return _GUARDED.sub("", cell)
