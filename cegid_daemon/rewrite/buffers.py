"""The stock buffer rule, and its way over a stream of records.

Owns which level applies and what comes out. Never reads a file and never knows where buffers are kept: it asks a `Book`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import IO

from cegid_daemon.rewrite.ports import Book
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

Belongs = Callable[[str, str], None]


def parse(text: str) -> int | None:
    """The buffer a typed text defines; None = not defined (blank, negative, decimal, wordy)."""
    raise NotImplementedError


def apply(stock: Decimal | None, buffer: int | None) -> Decimal | None:
    """What may be sold of `stock` (None = blank) under `buffer` (None = no level defines one)."""
    raise NotImplementedError


def stocked(
    records: Iterable[Record],
    layout: Layout,
    book: Book,
    tally: Tally,
    *,
    belongs: Belongs | None = None,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Iterator[Record]:
    """The records that go on, with `sku product stock raw_stock buffer buffer_level` where the layout names them."""
    raise NotImplementedError


def fed(
    records: Iterable[Record], layout: Layout, book: Book, tally: Tally, *, belongs: Belongs | None = None
) -> Iterator[tuple[str, str, str, int]]:
    """What a layout with `buffer` sets in the book: (level, key, value as typed, line); level variation | product."""
    raise NotImplementedError
