"""Reading a received file into records, by its layout.

Owns the choice of the reader; `text` decodes, `delimited`, `fixed`, `records` and `xml` read; `plain_xml` reads large
flat XML for the process that keeps records by column. Streams: never holds more than a few chunks of the file, and
never changes or repairs what it reads: a broken row fails the file with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cegid_daemon.rewrite.layouts import delimited, fixed, records, xml
from cegid_daemon.rewrite.layouts.text import Source
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

__all__ = ["Read", "Source", "read"]

Read = Callable[[Layout, Source, Tally], Iterator[Record]]
"""What `read` is: the records of a file, counted as they come."""

_READERS: dict[str, Read] = {
    "delimited": delimited.read,
    "fixed": fixed.read,
    "records": records.read,
    "xml": xml.read,
}


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Record]:
    """The records of the file, in order, as they stand there; counts them in `tally.read`.

    `source` opens the received bytes again from the start: an encoding is decided in a pass of its own. Raises
    `BadInput` where the file breaks its layout, with line, column and field as far as they are known.
    """
    return _READERS[layout.kind](layout, source, tally)
