"""Whether work grows in proportion to its size: measured in CPU, by doubling, with a generous factor."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cegid_daemon.errors import CegidDaemonError

FACTOR = 3.5  # for twice the size; what goes by the square takes 4 times as long, by the cube 8
LEAST = 0.02  # seconds; less is noise
ATTEMPTS = 4


def cpu_seconds(work: Callable[[], Any]) -> float:
    """The CPU time of one run; a fault of the house is an answer as good as any."""
    begun = time.thread_time()
    with suppress(CegidDaemonError):
        work()
    return time.thread_time() - begun


def is_linear(make: Callable[[int], Any], work: Callable[[Any], Any], size: int) -> bool:
    """Whether `work` on what `make` gives of four times the size takes less than by the square, once in a few tries."""
    small, large = make(size), make(4 * size)
    gc.collect()
    for _ in range(ATTEMPTS):
        little, much = cpu_seconds(lambda: work(small)), cpu_seconds(lambda: work(large))
        if much <= max(LEAST, FACTOR**2 * max(little, LEAST / 16)):
            return True
    return False
