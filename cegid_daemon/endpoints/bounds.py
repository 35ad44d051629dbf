"""How much a server may say and how slowly, counted while it is read: whoever answers without end is stopped.

Owns the bounds of every remote adapter. They are far above what servers in order need; what is beyond is `Excess`, a
trouble of the server that ends the connection and waits as others do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_ENTRIES = 250_000  # of one folder
_MOST_OTHER_LINES = 10  # of a listing: the total, headings, the folder itself and the one above
MAX_LISTING_BYTES = 48 << 20
MAX_LINE_BYTES = 2048  # of a listing: no name has more than 255 characters; a longer line is not looked into
MAX_REPLY_BYTES = 256 << 10
MAX_REPLY_LINES = 1000
MAX_LOGIN_BYTES = 1 << 20  # all that an SSH server says before the login is through
MAX_EXCESS_BYTES = 1 << 20  # a file may have grown by so much since it was looked at; more is not read to its end
MIN_BYTES_PER_SECOND = 1024
_REPLY_PATIENCE = 10  # times the endpoint's `timeout`: for one reply as a whole …
_LISTING_PATIENCE = 20  # … and for one listing
_READING_SECONDS = 60.0  # of the processor's time; 200,000 files take three

OPERATOR = "Ask the server's operator: no server in order does this. It is tried again by itself."
FULL = "Have old files moved out of this folder. It is tried again by itself."


Beat = Callable[[], None]


def no_beat() -> None:
    """Nobody watches whether we get on."""


class Excess(Exception):
    """The server says more than anybody needs, or takes for ever to say it; the text is why, for people."""

    def __init__(self, why: str, remedy: str = OPERATOR) -> None:
        super().__init__(why)
        self.remedy = remedy


class Deadline:
    """The time by which something must be over, however lively the server is meanwhile."""

    def __init__(
        self, what: str, seconds: float, clock: Callable[[], float] = time.monotonic, *, beat: Beat = no_beat
    ) -> None:  # fmt: skip
        """`beat`: told at each check that time goes on in a bounded way, and that this is no standstill."""
        self._what = what
        self._beat = beat
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    @classmethod
    def of_reply(cls, timeout_seconds: float, beat: Beat = no_beat) -> Deadline:
        """Of one reply."""
        return cls("a reply", timeout_seconds * _REPLY_PATIENCE, beat=beat)

    @classmethod
    def of_listing(cls, timeout_seconds: float, beat: Beat = no_beat) -> Deadline:
        """Of one listing."""
        return cls("the listing", timeout_seconds * _LISTING_PATIENCE, beat=beat)

    @classmethod
    def of_reading(cls) -> Deadline:
        """Of our own work on what came."""
        return cls("reading the listing", _READING_SECONDS, time.thread_time)

    def check(self, more_seconds: float = 0.0) -> None:
        """Excess if the time is over, and so much more."""
        self._beat()
        if self._clock() > self._end + more_seconds:
            raise Excess(f"{self._what} was not complete after {self._seconds + more_seconds:.4g} seconds")


class ListingSize:
    """What came of one listing so far."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._bytes = 0
        self._entries = 0

    def add(self, size: int, entries: int) -> None:
        """Counts; Excess if it is too much."""
        self._bytes += size
        self._entries += entries
        if self._bytes > MAX_LISTING_BYTES:
            raise Excess(f"the listing has more than {MAX_LISTING_BYTES >> 20} MiB", FULL)
        if self._entries > MAX_ENTRIES + _MOST_OTHER_LINES:
            raise Excess(f"the listing has more than {MAX_ENTRIES:,} entries", FULL)

    def check(self) -> None:
        """Excess if it takes too long: longer than the deadline and, on a slow line, than its bytes need."""
        self._deadline.check(self._bytes / MIN_BYTES_PER_SECOND)


class Progress:
    """Whether the bytes of a transfer get on. Only time in which the server is waited for counts."""

    def __init__(self, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = timeout_seconds
        self._clock = clock
        self._waited = 0.0
        self._bytes = 0

    def receive(self, read: Callable[[], int]) -> int:
        """Has `read` wait for bytes. Excess if fewer than `MIN_BYTES_PER_SECOND` came for as long as the time-out."""
        begun = self._clock()
        size = read()
        self._waited += self._clock() - begun
        self._bytes += size
        if self._waited >= self._seconds and size:
            if self._bytes < MIN_BYTES_PER_SECOND * self._waited:
                raise Excess(f"in {self._waited:.0f} seconds no more than {self._bytes} bytes came")
            self._waited, self._bytes = 0.0, 0
        return size


def shortened(text: str, length: int = 500) -> str:
    """What a server said, as far as people need it."""
    return text if len(text) <= length else f"{text[:length]}…"
