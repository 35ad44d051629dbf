"""How records go from the process that reads them to the one that rewrites them: as bytes, and back.

Owns what of a record travels: its fields, its number and its line. What else an XML element knows (paths, inner
records, full names) stays behind, and whoever asks for it hears `StayedBehind`. Never starts a process.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence
from itertools import count, islice

from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record

MANY = 250  # records that travel together
_BETWEEN = "\0"  # stands in no field: every layout refuses it
_PLAIN = 2  # the version of `marshal` that does not look for texts met before: few are


class StayedBehind(BaseException):
    """What was asked for did not travel: the rewriting is to be done again in one process.

    No `Exception`, so that neither an expression nor a template takes it for a fault of its own.
    """


class TravelledRecord(Record):
    """A record that was an XML element in another process."""

    def __missing__(self, name: str) -> str:
        """Raises KeyError for a plain name: the element has no such field."""
        if "/" in name or name.startswith("{"):
            raise StayedBehind(name)
        raise KeyError(name)

    def each(self, path: str) -> Sequence[Record]:
        """Never known here."""
        raise StayedBehind(path)


def travels(layout: Layout) -> bool:
    """Whether it pays to read this layout's records in another process: XML, without stocks inside its records."""
    return layout.kind == "xml" and not any(stocks.each for stocks in layout.stocks)


def packed(records: Sequence[Record]) -> bytes:
    """Records that follow each other in the file, at least one."""
    shapes: dict[tuple[str, ...], int] = {}
    shape_of = [shapes.setdefault(tuple(record), len(shapes)) for record in records]
    fields = _BETWEEN.join([text for record in records for text in record.values()])
    lines = [record.line for record in records]
    return marshal.dumps((list(shapes), shape_of, records[0].number, lines, fields), _PLAIN)


def unpacked(block: bytes) -> Iterator[Record]:
    """The records of a block, as they were."""
    shapes, shape_of, first, lines, fields = marshal.loads(block)  # noqa: S302  # from our own other half
    texts = iter(fields.split(_BETWEEN))
    widths = [len(names) for names in shapes]
    for number, line, shape in zip(count(first), lines, shape_of):  # the first has no end
        record = TravelledRecord(zip(shapes[shape], islice(texts, widths[shape]), strict=True))
        record.number, record.line = number, line
        yield record
