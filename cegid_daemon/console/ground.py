"""What the console stands on: the daemon's rooms as they are handed in, and journals of its own for reading.

Owns the few read-only connections that page views share, so that no page ever waits for the writer or makes it wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cegid_daemon.config import Config
from cegid_daemon.errors import JournalUnavailable
from cegid_daemon.journal import Journal
from cegid_daemon.journal.book import BufferBook
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.ledger import Ledger
from cegid_daemon.journal.log import LogBook
from cegid_daemon.journal.masking import Masking
from cegid_daemon.journal.notices import Notices
from cegid_daemon.journal.overview import Overview
from cegid_daemon.journal.paging import Pages
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.recipes import Recipes
from cegid_daemon.journal.search import Search
from cegid_daemon.journal.statistics import Statistics
from cegid_daemon.journal.waiting_files import WaitingFiles

_READERS = 4  # connections open at the same time; each has a cache of its own
_PATIENCE = 10.0  # seconds a page waits for one of them


@dataclass(frozen=True)
class Ground:
    """What the daemon hands to its console."""

    config: Config
    journal: Journal  # for edits and decisions
    clock: Callable[[], datetime]
    wake: Callable[[str], None]  # wakes the work of a route
    well: Callable[[], bool]  # whether every thread of the daemon gets on
    readers: Readers
    test_alert: Callable[[str], None] | None = None  # sends a test, told by whom; None: no alerts configured

    @property
    def spool(self) -> Path:
        """Where what is under way lies on the disk."""
        return self.config.state / "spool"


class Reading:
    """The journal as pages read it, over one read-only connection."""

    def __init__(self, path: Path) -> None:
        self.connection = Connection(path, readonly=True, checkpoints=False, examined=True)
        self.payloads = Payloads(self.connection)
        self.log = LogBook(self.connection, self.payloads)
        self.pages = Pages(self.connection)
        self.search = Search(self.connection, self.payloads)
        self.overview = Overview(self.connection)
        self.statistics = Statistics(self.connection)
        self.book = BufferBook(self.connection)
        self.ledger = Ledger(self.connection, self.payloads)
        self.recipes = Recipes(self.connection)
        self.waiting_files = WaitingFiles(self.connection)
        self.notices = Notices(self.connection)
        self.masking = Masking(self.connection, self.payloads)

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()


class Readers:
    """A few readings, lent to one page view at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free = threading.Semaphore(_READERS)
        self._idle: list[Reading] = []

    @contextmanager
    def lend(self) -> Iterator[Reading]:
        """A reading for the calling thread alone. Raises JournalUnavailable if none gets free in time."""
        if not self._free.acquire(timeout=_PATIENCE):
            raise JournalUnavailable("the console is busy", why="every reader of the journal is at work",
                                     remedy="Try again in a moment.")  # fmt: skip
        try:
            reading = self._idle.pop() if self._idle else Reading(self._path)
            try:
                yield reading
            except BaseException:
                reading.close()
                raise
            self._idle.append(reading)
        finally:
            self._free.release()

    def close(self) -> None:
        """Closes those not lent."""
        while self._idle:
            self._idle.pop().close()
