"""Lanes run what is due, once at a time, and end at once; the pulse tells busy from stuck."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cegid_daemon.lanes import Lane, Pulse

FAR = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


class Job:
    """A task that does `what` and wants to run again in a day."""

    lane = "local"

    def __init__(self, name: str, what: Callable[[], object]) -> None:
        self.name = name
        self.what = what
        self.ran = threading.Semaphore(0)

    def run(self) -> datetime:
        self.what()
        self.ran.release()
        return now() + FAR


@contextmanager
def lane_of(*jobs: Job, threads: int = 1) -> Any:
    lane = Lane("local", jobs, threads=threads, clock=now, pulse=Pulse())
    lane.start()
    try:
        yield lane
    finally:
        lane.ask_to_stop()
        assert lane.join(5)


def test_every_task_runs_at_the_start_and_a_woken_one_again() -> None:
    jobs = [Job("a", int), Job("b", int)]
    with lane_of(*jobs) as lane:
        assert all(job.ran.acquire(timeout=5) for job in jobs)
        lane.wake("b")
        lane.wake("nobody")
        assert jobs[1].ran.acquire(timeout=5)
        assert not jobs[0].ran.acquire(timeout=0.05)


def test_a_task_is_never_in_two_threads_and_a_wake_meanwhile_is_not_lost() -> None:
    inside, begun, go_on = [0], threading.Semaphore(0), threading.Semaphore(0)
    most: list[int] = []

    def work() -> None:
        inside[0] += 1
        most.append(inside[0])
        begun.release()
        go_on.acquire(timeout=5)
        inside[0] -= 1

    job = Job("a", work)
    with lane_of(job, threads=3) as lane:
        assert begun.acquire(timeout=5)
        for _ in range(10):
            lane.wake("a")
        go_on.release()
        assert begun.acquire(timeout=5), "woken while it ran: it runs again"
        go_on.release()
        assert job.ran.acquire(timeout=5)
        assert not begun.acquire(timeout=0.05), "but only once"
    assert max(most) == 1


def test_a_long_task_holds_up_none_of_those_due_with_it() -> None:
    long, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        if long.is_set():
            assert go_on.wait(10)

    jobs = [Job("slow", slow), *[Job(f"short {number:02}", int) for number in range(20)]]
    with lane_of(*jobs, threads=3) as lane:
        assert all(job.ran.acquire(timeout=5) for job in jobs)
        long.set()
        for job in jobs:
            lane.wake(job.name)
        assert all(job.ran.acquire(timeout=5) for job in jobs[1:])
        assert not jobs[0].ran.acquire(blocking=False)
        go_on.set()
        assert jobs[0].ran.acquire(timeout=5)


def test_a_task_due_soon_is_begun_although_its_thread_took_a_long_one() -> None:
    go_on, times = threading.Event(), [0]

    class Soon(Job):
        def run(self) -> datetime:
            super().run()
            times[0] += 1
            return now() + (timedelta(milliseconds=50) if times[0] < 3 else FAR)

    soon, long = Soon("soon", int), Job("then", lambda: go_on.wait(10))
    with lane_of(soon, long, threads=2):
        assert all(soon.ran.acquire(timeout=5) for _ in range(3))
        go_on.set()
        assert long.ran.acquire(timeout=5)


def test_a_clock_that_is_set_back_puts_nothing_off() -> None:
    clock = [now()]
    runs = threading.Semaphore(0)

    class Often:
        name, lane = "often", "local"

        def run(self) -> datetime:
            due = clock[0] + timedelta(milliseconds=100)
            runs.release()
            return due

    lane = Lane("local", [Often()], threads=1, clock=lambda: clock[0], pulse=Pulse())
    lane.start()
    try:
        assert runs.acquire(timeout=5)
        clock[0] -= timedelta(hours=2)
        assert runs.acquire(timeout=5) and runs.acquire(timeout=5)
    finally:
        lane.ask_to_stop()
        assert lane.join(5)


def test_a_task_that_raises_is_told_and_the_lane_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyError("bug")

    with lane_of(Job("bad", fail), good := Job("good", int)) as lane:
        assert good.ran.acquire(timeout=5)
        assert lane.alive()
    assert "bad failed in a way nobody foresaw" in caplog.text


def test_many_wakes_of_a_waiting_task_do_not_pile_up() -> None:
    lane = Lane("local", [Job("a", int)], threads=1, clock=now, pulse=Pulse())
    for _ in range(10_000):
        lane.wake("a")
    assert len(lane._heap) < 10


def test_the_pulse_counts_busy_threads_only() -> None:
    clock = [0.0]
    pulse = Pulse(lambda: clock[0])
    assert pulse.stuck_for() == 0
    pulse.begin()
    clock[0] = 100
    assert pulse.stuck_for() == 100
    pulse.refresh()
    assert pulse.stuck_for() == 0
    clock[0] = 300
    pulse.rest()
    pulse.refresh()
    assert pulse.stuck_for() == 0


def test_a_helping_thread_beats_for_whoever_waits_for_it_and_is_not_busy_itself() -> None:
    clock = [0.0]
    pulse = Pulse(lambda: clock[0])
    pulse.begin()
    clock[0] = 100
    helper = threading.Thread(target=pulse.beat)
    helper.start()
    helper.join()
    assert pulse.stuck_for() == 0
    clock[0] = 130
    pulse.beat()
    assert pulse.stuck_for() == 0
    pulse.rest()
    clock[0] = 500
    assert pulse.stuck_for() == 0, "the helper was never busy"
