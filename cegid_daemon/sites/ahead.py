"""What came of an upload ahead of its turn, in memory until the bytes before it have come.

Owns the bounds of that memory: of one upload, and of all uploads of the process together.
"""

from __future__ import annotations

import errno
import heapq
import threading

MAX_BYTES = 16 << 20  # of one upload
MAX_PIECES = 4096  # of one upload
MAX_BYTES_OF_ALL = 32 << 20
_PIECE_COST = 256  # bytes that keeping a piece costs besides its own


class AheadBudget:
    """The memory that all uploads together may use for what came ahead of its turn. Thread-safe."""

    def __init__(self, limit: int = MAX_BYTES_OF_ALL) -> None:
        self._limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether there was room."""
        with self._lock:
            if self._used + size > self._limit:
                return False
            self._used += size
            return True

    def give_back(self, size: int) -> None:
        """Memory that is free again."""
        with self._lock:
            self._used -= size


class Ahead:
    """The pieces of one upload. Not thread-safe: the upload holds its own lock."""

    def __init__(self, budget: AheadBudget) -> None:
        self._budget = budget
        self._pieces: dict[int, bytearray] = {}
        self._offsets: list[int] = []  # a heap
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def keep(self, offset: int, piece: bytes) -> None:
        """Keeps a piece for its turn; raises OSError if that is too much."""
        known = self._pieces.get(offset)
        if known is None:
            self._make_room(len(piece) + _PIECE_COST, new=1)
            heapq.heappush(self._offsets, offset)
            self._pieces[offset] = bytearray(piece)
            return
        if len(piece) > len(known):
            self._make_room(len(piece) - len(known), new=0)
        known[: len(piece)] = piece

    def _make_room(self, cost: int, *, new: int) -> None:
        count = len(self._pieces) + new
        is_too_much = count > MAX_PIECES or self._size + cost > MAX_BYTES + count * _PIECE_COST
        if is_too_much or not self._budget.take(cost):
            raise OSError(errno.EINVAL, "too far ahead of what was written")
        self._size += cost

    def take(self, end: int) -> bytes | None:
        """The bytes that follow those up to `end`, if they have come; what was written since is not taken again."""
        while self._offsets and self._offsets[0] <= end:
            offset = heapq.heappop(self._offsets)
            piece = self._pieces.pop(offset)
            self._give_back(len(piece) + _PIECE_COST)
            if offset + len(piece) > end:
                return bytes(memoryview(piece)[end - offset :])
        return None

    def clear(self) -> None:
        """Drops everything."""
        self._pieces.clear()
        self._offsets.clear()
        self._give_back(self._size)

    def _give_back(self, size: int) -> None:
        self._size -= size
        self._budget.give_back(size)
