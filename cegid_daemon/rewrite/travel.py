"""How records go from the process that reads them to the one that rewrites them: as bytes, and back.

Owns what travels: sheets of flat records with what was computed of them, and what they say of the catalogue. What else
an XML element knows (paths, inner records, full names) stays behind, and whoever asks for it hears `StayedBehind`.
Never starts a process.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence

from cegid_daemon.rewrite.expressions import reads_elements
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import AsItCame, Number, PlainDecimal, Record, reaches_inside
from cegid_daemon.rewrite.sheet import Column, Sheet

_BETWEEN = "\0"  # stands in no field: every layout refuses it
_LACKING = "\1"  # no XML may hold it
_NESTED = "\2"  # neither this: the field holds elements; the line of its element follows
_PLAIN = 2  # the version of `marshal` that does not look for texts met before: few are
_NUMBERS = ("stock", "raw_stock")

_Stock = int | str | tuple[int | str, str]
"""A stock on its way: a number with a fraction as its text, one that prints as it came with that text."""


class StayedBehind(BaseException):
    """What was asked for did not travel: the rewriting is to be done again in one process.

    No `Exception`, so that neither an expression nor a template takes it for a fault of its own.
    """


class TravelledRecord(Record):
    """A record that was read in another process."""

    def __missing__(self, name: str) -> str:
        """Raises KeyError for a plain name: the element has no such field."""
        if reaches_inside(name):
            raise StayedBehind(name)
        raise KeyError(name)

    def each(self, path: str) -> Sequence[Record]:
        """Never known here."""
        raise StayedBehind(path)


def travels(layout: Layout) -> bool:
    """Whether it pays to read this layout's records in another process: XML, whose records are nothing but fields."""
    inside = any(stocks.each for stocks in layout.stocks)
    return layout.kind == "xml" and not inside and not layout.buffer and not reads_elements(layout)


def packed(sheet: Sheet) -> bytes:
    """A sheet, at least one record long."""
    columns = [
        _joined(list(map(_sent_nested, column)) if name in sheet.nested else column)
        for name, column in zip(sheet.names, sheet.columns, strict=True)
    ]
    computed = [
        (name, [_sent(stock) for stock in column] if name in _NUMBERS else list(column))
        for name, column in sheet.computed.items()
    ]
    body = (sheet.names, columns, list(sheet.numbers), list(sheet.lines), computed, sorted(sheet.nested))
    return marshal.dumps(body, _PLAIN)


def unpacked(packed_sheet: bytes) -> Iterator[Record]:
    """The records of a sheet."""
    names, columns, numbers, lines, sent, nested = marshal.loads(packed_sheet)  # noqa: S302  # from our own other half
    computed = {
        name: [one if one.__class__ is int else _arrived(one) for one in column] if name in _NUMBERS else column
        for name, column in sent
    }
    split = [
        _arrived_nested(name, _split(column), numbers) if name in nested else _split(column)
        for name, column in zip(names, columns, strict=True)
    ]
    return Sheet(names, split, numbers, lines, computed).records(TravelledRecord)


def _joined(column: Column) -> str:
    return _BETWEEN.join([_LACKING if text is None else text for text in column])


def _split(joined: str) -> Column:
    texts = joined.split(_BETWEEN)
    return [None if text == _LACKING else text for text in texts] if _LACKING in joined else texts


def _sent_nested(text: str | None) -> str | None:
    return f"{_NESTED}{text.line}" if isinstance(text, NestedText) else text


def _arrived_nested(name: str, column: Column, numbers: Sequence[int]) -> Column:
    return [
        NestedText(name, int(text[1:]), number) if text and text.startswith(_NESTED) else text
        for text, number in zip(column, numbers, strict=True)
    ]


def _sent(stock: Number) -> _Stock:
    if isinstance(stock, AsItCame):
        return _sent_plain(stock.number), stock.text
    return _sent_plain(stock)


def _sent_plain(stock: Number) -> int | str:
    return stock if isinstance(stock, int) else str(stock)


def _arrived(stock: _Stock) -> Number:
    if isinstance(stock, tuple):
        number, text = stock
        return AsItCame(_arrived(number), text)
    return PlainDecimal(stock) if stock and isinstance(stock, str) else stock
