"""A signal handler may set the flag at any moment of a wait, which ends at once."""

from __future__ import annotations

import signal
import time

from cegid_daemon.signal_flag import SignalFlag


def test_a_handler_that_sets_it_in_the_middle_of_a_wait_never_blocks() -> None:
    """With `threading.Event` this hangs within the first hundred."""
    flags: list[SignalFlag] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: flags[-1].set())
    try:
        for number in range(2_000):
            flags.append(SignalFlag())
            signal.setitimer(signal.ITIMER_REAL, 0.00002 * (number % 20 + 1))
            assert flags[-1].wait(5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_wait_ends_after_its_time() -> None:
    flag = SignalFlag()
    began = time.monotonic()
    assert not flag.wait(0.01)
    assert time.monotonic() - began < 5
    flag.set()
    assert flag.wait(0) is flag.is_set() is True
