"""Locks of the kernel that somebody else may hold for a moment: asked for again and again, for a bounded time."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.0005, 0.02
_NEVER = threading.Event()  # nobody sets it: waiting for it is a pause


def flock(descriptor: int) -> bool:
    """Whether the open file or folder is locked for us alone now. Raises OSError where it cannot be locked at all."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def retried(attempt: Callable[[], bool], seconds: float) -> bool:
    """Whether `attempt()` succeeded within the time; tried at least once."""
    deadline, pause = time.monotonic() + seconds, _SHORTEST_PAUSE_SECONDS
    while not attempt():
        if time.monotonic() >= deadline:
            return False
        _NEVER.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return True
