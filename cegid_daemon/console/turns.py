"""One at a time, a few wait, nobody for long: so that what is slow never takes the threads of every other page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cegid_daemon.errors import Transient

_MOST = 5  # that take turns at once, the one whose turn it is among them


class Turns:
    """Turns at something slow, called `what`."""

    def __init__(self, what: str, seconds: float) -> None:
        self._what = what
        self._seconds = seconds
        self._room = threading.Semaphore(_MOST)
        self.lock = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Waits for one's turn. Raises Transient where too many wait, or for too long."""
        if not self._room.acquire(blocking=False):
            raise self._busy("others wait for it")
        try:
            if not self.lock.acquire(timeout=self._seconds):
                raise self._busy(f"it was not free within {self._seconds:.0f} seconds")
            try:
                yield
            finally:
                self.lock.release()
        finally:
            self._room.release()

    def _busy(self, why: str) -> Transient:
        return Transient(f"{self._what} is busy", why=why, remedy="Try again in a moment.")
