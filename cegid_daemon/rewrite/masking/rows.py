"""Masking in text layouts: cells by column or record type, characters by position. Line ends and quotes stay.

Reads lines as the layouts do, but keeps what they throw away. A row that has not the cells its layout says raises:
the field may then stand anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NoReturn

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
    carry, size = list[str](), 0  # the beginning of a line, in pieces
    for text in texts:
        *whole, rest = text.split("\n")
        for line in whole:
            yield "".join((*carry, line, "\n"))
            carry, size = [], 0
        carry.append(rest)
        size += len(rest)
        if size > LONGEST_LINE:
            raise BadInput("a line never ends", why=f"it is longer than {LONGEST_LINE} characters")
    if size:
        yield "".join(carry)


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
    quote, delimiter = layout.quote, layout.delimiter

    def cut(line: str, body: Iterator[str]) -> tuple[list[str], str]:
        cells, at = list[str](), 0
        while True:
            if line.startswith(quote, at):
                cell, line, at = _held(line, at, quote, body)
            else:
                stop = line.find(delimiter, at)
                cell = line[at:stop] if stop >= 0 else _without_end(line[at:])[0]
                at += len(cell)
            cells.append(cell)
            if not line.startswith(delimiter, at):
                end = line[at:]
                return (cells, end) if end in ("", "\n", "\r\n") else _unclosed()
            at += len(delimiter)

    return cut


def _held(line: str, at: int, quote: str, body: Iterator[str]) -> tuple[str, str, int]:
    """The quoted cell that begins at a place of the line, the line it ends in, and where it does."""
    pieces, size = list[str](), 0
    end = _closing(line, at + 1, quote)
    while end < 0:
        pieces.append(line[at:])
        size += len(pieces[-1])
        line, at = next(body, "") if size <= LONGEST_LINE else "", 0
        end = _closing(line, 0, quote) if line else _unclosed()
    return "".join((*pieces, line[at:end])), line, end


def _closing(line: str, at: int, quote: str) -> int:
    """Where the closing mark ends; of two in a row neither is one. Negative: not in this line."""
    while (found := line.find(quote, at)) >= 0:
        if not line.startswith(quote, found + 1):
            return found + 1
        at = found + 2
    return -1


def _unclosed() -> NoReturn:
    raise BadInput("a quoted row is broken")


def _without_end(line: str) -> tuple[str, str]:
    text = line.removesuffix("\n").removesuffix("\r")
    return text, line[len(text) :]
