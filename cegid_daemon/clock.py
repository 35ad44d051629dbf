"""Time that never rules alone: what may be concluded from a stored moment when clocks can be wrong.

The wall clock may jump; the boot clock counts evenly from the start of the machine, asleep or not, and says nothing of
another start. A stored moment that is later than now was written by a clock that was ahead: it counts as now.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

JUMP = timedelta(minutes=1)  # a smaller difference between the two clocks is drift, or a pause between two readings
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NOTHING, _A_SECOND = timedelta(0), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class BootTime:
    """Seconds since the machine started; comparable only within the same `boot`."""

    boot: str
    seconds: float


BootClock = Callable[[], BootTime]


def duration_text(span: timedelta) -> str:
    """A duration as the configuration writes it: `10m`, `90s`, `1.5s`."""
    seconds = span.total_seconds()
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"


def boot_time() -> BootTime:
    """The boot clock of this machine."""
    return BootTime(_boot_id(os.getpid()), time.clock_gettime(time.CLOCK_BOOTTIME))


@cache
def _boot_id(process: int) -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:  # then each process is a boot of its own to us
        return f"process {process}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one moment."""

    wall: datetime
    boot: BootTime

    def jump_until(self, later: Reading, tolerance: timedelta = JUMP) -> timedelta:
        """How far the wall clock jumped in between; zero for less, or where nobody can tell (a reboot)."""
        if self.boot.boot != later.boot.boot:
            return _NOTHING
        jump = later.wall - self.wall - timedelta(seconds=later.boot.seconds - self.boot.seconds)
        return jump if abs(jump) > tolerance else _NOTHING

    def passed_until(self, later: Reading) -> timedelta:
        """How much time passed at most: the larger of what both clocks say, as a virtual machine can be paused."""
        by_wall = max(_NOTHING, later.wall - self.wall)
        if self.boot.boot != later.boot.boot:
            return by_wall
        return max(by_wall, timedelta(seconds=later.boot.seconds - self.boot.seconds))


class JumpDetector:
    """Whether the wall clock jumped between two looks, by more than a second."""

    def __init__(self, boot_clock: BootClock = boot_time) -> None:
        self._boot_clock = boot_clock
        self._last: Reading | None = None

    def has_jumped(self, now: datetime) -> bool:
        """Compares with the last call."""
        last, self._last = self._last, Reading(now, self._boot_clock())
        return last is not None and abs(last.jump_until(self._last, _A_SECOND)) > _NOTHING


class SteadyClock:
    """Moments that follow each other evenly within one process: the wall clock as it would be without its jumps."""

    def __init__(self, boot_clock: BootClock | None = boot_time) -> None:
        """`boot_clock` None: the wall clock is believed."""
        self._boot_clock = boot_clock
        self._first: Reading | None = None
        self._ahead = _NOTHING  # how far the wall clock has jumped since the first reading

    def steady(self, wall: datetime) -> datetime:
        """The even moment that the wall clock shows as `wall` now."""
        if self._boot_clock is not None:
            now = Reading(wall, self._boot_clock())
            self._first = self._first or now
            jump = wall - self._first.wall - timedelta(seconds=now.boot.seconds - self._first.boot.seconds)
            if abs(jump - self._ahead) > _A_SECOND:
                self._ahead = jump
        return wall - self._ahead

    def wall(self, moment: datetime) -> datetime:
        """What the wall clock shows at an even moment."""
        return moment + self._ahead


def age(moment: datetime, now: datetime) -> timedelta:
    """How long ago something was; a moment later than now counts as now."""
    return max(_NOTHING, now - moment)


def is_within(moment: datetime, span: timedelta, now: datetime) -> bool:
    """Whether a moment lies in the last `span`; one later than now does not: its clock was ahead."""
    return _NOTHING <= now - moment < span


def is_due(due: datetime, now: datetime, longest: timedelta) -> bool:
    """Whether a wait is over; one longer than the longest that is ever set was set by a clock that was ahead."""
    return due <= now or due > now + longest
