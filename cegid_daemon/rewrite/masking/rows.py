"""Masking in text layouts: cells by column or record type, characters by position. Line ends and quotes stay.

Reads lines as the layouts do, but keeps what they throw away. A row that has not the cells its layout says raises:
the field may then stand anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite.layouts.text import LONGEST_LINE
from cegid_daemon.rewrite.masking.fields import STAR, Fields, starred
from cegid_daemon.rewrite.recipe import Layout

Add = Callable[[str], None]
Cut = Callable[[str, Iterator[str]], tuple[list[str], str]]


def masked(layout: Layout, fields: Fields, add: Add, texts: Iterable[str]) -> Iterator[str]:
    """The text of a delimited, fixed or multi-record file with its fields masked; `add` gets each value."""
    if STAR in (layout.delimiter, layout.quote):
        raise BadInput(f"the layout separates or quotes with {STAR}, which masks")
    body = lines(texts)
    yield from islice(body, layout.lead)
    kinds: dict[str, type[_Positions | _Cells]] = {"fixed": _Positions, "records": _Typed, "delimited": _Columns}
    mask = kinds[layout.kind](layout, fields, add)
    trailer = layout.proof.trailer if layout.proof else ""
    for line in body:
        as_it_is = not line.strip() or (trailer and line.startswith(trailer))
        yield line if as_it_is else mask(line, body)


def lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines with their ends."""
    carry = ""
    for text in texts:
        *whole, carry = (carry + text).split("\n")
        if len(carry) > LONGEST_LINE:
            raise BadInput("a line never ends", why=f"it is longer than {LONGEST_LINE} characters")
        for line in whole:
            yield line + "\n"
    if carry:
        yield carry


class _Positions:
    """Fixed width: characters by place."""

    def __init__(self, layout: Layout, fields: Fields, add: Add) -> None:
        named = [field for field in layout.fields if field.name in fields.names]
        self._spans = [(field.at - 1, field.at - 1 + field.width) for field in named]
        self._add = add

    def __call__(self, line: str, _body: Iterator[str]) -> str:
        text, end = _without_end(line)
        for start, stop in self._spans:
            value = text[start:stop]
            self._add(value.strip())
            text = text[:start] + starred(value) + text[stop:]
        return text + end


class _Cells:
    """Rows of cells; which of them are masked, the subclasses know."""

    def __init__(self, layout: Layout, fields: Fields, add: Add) -> None:
        self._layout, self._fields, self._add = layout, fields, add
        self._cut = _quoted(layout) if layout.quote else _plain(layout)

    def __call__(self, line: str, body: Iterator[str]) -> str:
        cells, end = self._cut(line, body)
        for place in self._places(cells):
            cells[place] = self._masked(cells[place])
        return self._layout.delimiter.join(cells) + end

    def _places(self, cells: Sequence[str]) -> Iterable[int]:
        raise NotImplementedError

    def _masked(self, cell: str) -> str:
        value, quote = self._value(cell), self._layout.quote
        self._add(value.strip())
        return quote + starred(value) + quote if quote and cell.startswith(quote) else starred(value)

    def _value(self, cell: str) -> str:
        quote = self._layout.quote
        return cell[1:-1].replace(quote * 2, quote) if quote and cell.startswith(quote) else cell

    def _named(self, columns: Sequence[str], cells: Sequence[str], before: int) -> list[int]:
        if len(cells) != len(columns) + before:
            raise BadInput("a row has not as many cells as there are columns")
        return [place for place, name in enumerate(columns, before) if name in self._fields.names]


class _Columns(_Cells):
    """Delimited: cells by title row or by the layout's columns."""

    _titles: Sequence[str] = ()

    def _places(self, cells: Sequence[str]) -> Iterable[int]:
        if self._layout.header and not self._titles:
            self._titles = [self._value(cell).strip() for cell in cells]
            return ()
        return self._named(self._layout.columns or self._titles, cells, 0)


class _Typed(_Cells):
    """Several record types: cells by the columns of the type in the first one."""

    def _places(self, cells: Sequence[str]) -> Iterable[int]:
        kind = self._value(cells[0]).strip()
        if kind not in self._layout.types:
            raise BadInput("a row has a record type that the layout does not know")
        return self._named(self._layout.types[kind], cells, 1)


def _plain(layout: Layout) -> Cut:
    def cut(line: str, _body: Iterator[str]) -> tuple[list[str], str]:
        text, end = _without_end(line)
        return text.split(layout.delimiter), end

    return cut


def _quoted(layout: Layout) -> Cut:
    quote, stop = re.escape(layout.quote), re.escape(layout.delimiter)
    held = rf"{quote}[^{quote}]*(?:{quote}{quote}[^{quote}]*)*{quote}"
    any_cell = rf"(?:{held}|(?!{quote})[^{stop}\r\n]*)"
    row = re.compile(rf"{any_cell}(?:{stop}{any_cell})*(?=\r?\n?\Z)")
    cell = re.compile(rf"{held}|[^{stop}]*")

    def cut(line: str, body: Iterator[str]) -> tuple[list[str], str]:
        while not (found := row.match(line)):
            line += next(body, "") or _unclosed()
            if len(line) > LONGEST_LINE:
                _unclosed()
        cells, at = [], 0
        while True:
            cells.append(cell.match(line, at, found.end())[0])  # type: ignore[index]  # matches the empty text too
            at += len(cells[-1]) + 1
            if at > found.end():
                return cells, line[found.end() :]

    return cut


def _unclosed() -> str:
    raise BadInput("a quoted row is broken")


def _without_end(line: str) -> tuple[str, str]:
    text = line.removesuffix("\n").removesuffix("\r")
    return text, line[len(text) :]
