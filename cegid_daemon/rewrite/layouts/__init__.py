"""Reading a received file into records, by its layout.

Owns the choice of the reader; `text` decodes, `delimited`, `fixed`, `records` and `xml` read. Streams: never holds more
than a few chunks of the file, and never changes or repairs what it reads: a broken row fails the file with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

Source = Callable[[], Iterable[bytes]]
"""Opens the received bytes again from the start, in chunks of any size; an encoding is decided in a pass of its own."""


def read(layout: Layout, source: Source, tally: Tally) -> Iterator[Record]:
    """The records of the file, in order, as they stand there; counts them in `tally.read`.

    Raises `BadInput` where the file breaks its layout, with line, column and field as far as they are known.
    """
    raise NotImplementedError
