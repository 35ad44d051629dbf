"""The names in a folder, kept so that even a very large listing costs a client that does not read it little memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice

_END = b"\0"  # no name contains it


class Names:
    """Sorted names: one run of bytes, from which each is cut when its turn comes."""

    def __init__(self, names: Iterable[str]) -> None:
        ordered = sorted(os.fsencode(name) for name in names)
        self._count = len(ordered)
        self._bytes = b"".join(name + _END for name in ordered)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        begin = 0
        while (end := self._bytes.find(_END, begin)) >= 0:
            yield os.fsdecode(self._bytes[begin:end])
            begin = end + 1

    def sort(self) -> None:
        """They are sorted: for callers that have a list in mind."""

    def batches(self, size: int) -> Iterator[list[str]]:
        """The names, some at a time."""
        names = iter(self)
        while batch := list(islice(names, size)):
            yield batch
