"""What of a server is too much or too slow, by a clock that is handed in."""

from __future__ import annotations

import pytest

from cegid_daemon.endpoints.bounds import Deadline, Excess, ListingSize, Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float, size: int) -> int:
        self.now += seconds
        return size


def test_a_transfer_that_gets_on_may_take_any_time() -> None:
    clock = Clock()
    progress = Progress(30, clock)
    for _ in range(100):
        assert progress.receive(lambda: clock.wait(20, 20_480)) == 20_480


def test_a_transfer_in_drops_ends_after_the_time_out() -> None:
    clock = Clock()
    progress = Progress(30, clock)
    with pytest.raises(Excess, match="in 30 seconds no more than 30 bytes came"):
        for _ in range(100):
            progress.receive(lambda: clock.wait(1, 1))


def test_time_in_which_nobody_waits_for_the_server_does_not_count() -> None:
    clock = Clock()
    progress = Progress(30, clock)
    for _ in range(100):
        progress.receive(lambda: clock.wait(0.1, 200))
        clock.now += 60


def test_the_end_of_a_slow_transfer_is_no_fault() -> None:
    clock = Clock()
    progress = Progress(30, clock)
    assert progress.receive(lambda: clock.wait(1, 5)) == 5
    assert progress.receive(lambda: clock.wait(29.5, 0)) == 0


def test_two_hundred_thousand_files_are_no_excess() -> None:
    size = ListingSize(Deadline.of_listing(30))
    for _ in range(200):
        size.add(1000 * 240, 1000)
    with pytest.raises(Excess, match="48 MiB"):
        size.add(10_000_000, 1)


def test_as_many_files_as_are_promised_may_lie_in_a_folder() -> None:
    size = ListingSize(Deadline.of_listing(30))
    size.add(250_003 * 70, 250_003)  # with the total, `.` and `..`
    with pytest.raises(Excess, match="more than 250,000 entries"):
        size.add(700, 10)


def test_a_deadline_passes() -> None:
    clock = Clock()
    deadline = Deadline("the listing", 5, clock)
    deadline.check()
    clock.now = 6
    with pytest.raises(Excess, match="the listing was not complete after 5 seconds"):
        deadline.check()


def test_a_listing_on_a_slow_line_may_take_as_long_as_its_bytes_need() -> None:
    clock = Clock()
    size = ListingSize(Deadline("the listing", 600, clock))
    for _ in range(200_000 // 1000):
        size.add(100_000, 1000)
        clock.now += 50  # 2 KB a second
        size.check()


def test_a_listing_in_drops_ends_after_its_time() -> None:
    clock = Clock()
    size = ListingSize(Deadline("the listing", 600, clock))
    with pytest.raises(Excess, match="the listing was not complete after 60"):
        for _ in range(100):
            size.add(10, 1)
            clock.now += 10
            size.check()


def test_whatever_has_a_deadline_is_no_standstill_of_the_daemon() -> None:
    beats: list[float] = []
    clock = Clock()
    deadline = Deadline("a reply", 300, clock, beat=lambda: beats.append(clock.now))
    for _ in range(20):
        clock.now += 14
        deadline.check()
    assert len(beats) == 20
