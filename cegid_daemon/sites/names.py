"""The names in a folder, kept so that even a very large listing costs a client that does not read it little memory.

Owns the bound of what all listings under way may keep together.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from itertools import islice

_END = b"\0"  # no name contains it
_MAX_BYTES_OF_ALL = 48 << 20  # of all listings of the process that are long
_LONG = 64 << 10  # bytes; shorter ones are bounded by the connections and open folders


class Names:
    """Sorted names: one run of bytes, from which each is cut when its turn comes."""

    def __init__(self, names: Iterable[str]) -> None:
        ordered = sorted(os.fsencode(name) for name in names)
        self._count = len(ordered)
        self._bytes = b"".join(name + _END for name in ordered)

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return len(self._bytes)

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


class ListingBudget:
    """The memory that all listings under way may use together. Thread-safe."""

    def __init__(self, limit: int = _MAX_BYTES_OF_ALL) -> None:
        self.turn = (
            threading.Lock()
        )  # names are collected in one folder after the other, which takes more than to keep them
        self._limit = limit
        self._used = 0
        self._lock = threading.RLock()  # a listing may end while another one is counted

    def count(self, names: Names) -> Names:
        """Counts a listing until it is gone. Raises OSError if that is too much beside others."""
        size = names.size
        if size <= _LONG:
            return names
        with self._lock:
            if self._used and self._used + size > self._limit:
                raise OSError(errno.EAGAIN, "too many long listings at the same time; try again later")
            self._used += size
        weakref.finalize(names, self._give_back, size).atexit = False
        return names

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._used -= size
