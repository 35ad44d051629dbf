"""The bounds of a rewriting that runs in the command's own process: those a worker of the daemon has.

Owns memory and CPU time while a template runs here. A template that grows without end costs the command, and not the
machine the daemon runs on.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from cegid_daemon.errors import LimitExceeded, Place
from cegid_daemon.workshop.orders import MIB, Limits

_SLOW = "Look for a loop in the template that grows with the file."
_LARGE = "Make the template give out each record as it comes instead of collecting them."


class _TimeUp(BaseException):
    """The CPU time is used up. No error of a template, which would be caught and worded as one."""


@contextmanager
def bounded(limits: Limits, size: int, where: Place) -> Iterator[None]:
    """Holds what runs inside to the limits of a received file of `size` bytes.

    Raises `LimitExceeded`, with `where`, when one of them is reached.
    """
    with _time_limited(limits.deadline(size)), _memory_limited(limits.memory):
        try:
            yield
        except MemoryError as error:
            why = f"limit {limits.memory // MIB} MiB"
            raise LimitExceeded("the rewriting took too much memory", where=where, why=why, remedy=_LARGE) from error
        except _TimeUp as error:
            why = f"limit {limits.deadline(size):g} s"
            raise LimitExceeded("the rewriting took too much CPU time", where=where, why=why, remedy=_SLOW) from error


@contextmanager
def _memory_limited(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    _lower(resource.RLIMIT_DATA, most)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def _time_limited(seconds: float) -> Iterator[None]:
    """CPU time counts from the start of the process."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    handled = signal.signal(signal.SIGXCPU, _time_up)
    _lower(resource.RLIMIT_CPU, int(time.process_time() + seconds) + 1)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)
        signal.signal(signal.SIGXCPU, handled)


def _time_up(*_: object) -> NoReturn:
    raise _TimeUp


def _lower(which: int, value: int) -> None:
    """Lowers the soft limit only: it goes up again afterwards."""
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
