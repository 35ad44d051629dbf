"""A flag that a signal handler may set while the same thread waits for it.

`threading.Event` cannot be that: the handler runs in the middle of the wait, and `set` then waits for ever for the lock
that the wait holds. `SimpleQueue.put` is documented to be reentrant.
"""

from __future__ import annotations

import queue
from contextlib import suppress


class SignalFlag:
    """Set once, by a signal handler or any thread; stays set."""

    def __init__(self) -> None:
        self._is_set = False
        self._wake_ups: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Sets it and ends a wait."""
        self._is_set = True
        self._wake_ups.put(None)

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Waits until it is set, `seconds` at most; whether it is set. For one thread."""
        if not self._is_set:
            with suppress(queue.Empty):
                self._wake_ups.get(timeout=seconds)
        return self._is_set
