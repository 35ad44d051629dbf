"""Files that wait or are watched for a time while the wall clock jumps: what counts is the time that really passed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from spine import NOON, Failing, Spine, route
from test_clock import DAY, HOUR, MINUTE, Clocks

from cegid_daemon.clock import BootTime, SteadyClock
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import Transient
from cegid_daemon.model import Identity, Listed, SourceSpec, WaitReason
from cegid_daemon.timing import Settling

DENIED = Transient("cannot read the file", why="Permission denied", remedy="Give the right.")
JUMPS = [DAY, -DAY, 800 * DAY, -800 * DAY, 20 * MINUTE, -20 * MINUTE]


class Shop(Spine):
    """Runs by clocks that can be set."""

    def __init__(self, folder: Path, clocks: Clocks) -> None:
        self.clocks = clocks
        super().__init__(folder, route())
        self.boot_clock = clocks.boot_clock
        self.denied = True
        inbox = self.endpoints["inbox"] = Failing(self.inbox)
        inbox.on["read"] = self._read
        self.restart()

    def _read(self, _folder: str, name: str, *_: object) -> None:
        if self.denied and name == "a.csv":
            raise DENIED

    def run(self, span: timedelta) -> None:
        """Time passes, and it looks."""
        self.clocks.run(span)
        self.now = self.clocks.wall
        self.look()

    def jump(self, span: timedelta) -> None:
        self.clocks.set(self.clocks.wall + span)
        self.now = self.clocks.wall


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, Clocks())
    yield shop
    shop.close()


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("restart", [False, True])
def test_an_unreadable_file_holds_up_those_behind_it_for_its_time(shop: Shop, jump: timedelta, restart: bool) -> None:
    shop.drop("a.csv", b"a")
    shop.drop("b.csv", b"b")
    shop.look()
    shop.run(MINUTE)
    shop.jump(jump)
    if restart:
        shop.restart()
    for _ in range(13):
        shop.run(MINUTE)
        assert shop.out() == {}
    shop.run(MINUTE)
    shop.run(MINUTE)
    assert shop.out() == {"b.xml": b"b"}
    shop.denied = False
    shop.run(MINUTE)
    assert shop.states() == ["done", "held"]


def test_the_machine_started_again_counts_anew_whatever_its_clock_says(shop: Shop) -> None:
    shop.drop("a.csv", b"a")
    shop.drop("b.csv", b"b")
    shop.look()
    shop.clocks.restart(NOON + DAY)
    shop.now = shop.clocks.wall
    shop.restart()
    for _ in range(14):
        shop.run(MINUTE)
        assert shop.out() == {}
    shop.run(MINUTE)
    shop.run(MINUTE)
    assert shop.out() == {"b.xml": b"b"}


def test_what_is_told_of_an_unreadable_file_stays_the_same_while_time_passes(shop: Shop) -> None:
    shop.drop("a.csv", b"a")
    shop.look()
    [before] = shop.journal.notices.active()
    for _ in range(10):
        shop.run(MINUTE)
    [after] = shop.journal.notices.active()
    assert (before.text, after.times) == (after.text, 1)
    shop.jump(DAY)
    shop.run(MINUTE)
    [after] = shop.journal.notices.active()
    assert after.text != before.text, "the end of its time by the clock of now"


@pytest.mark.parametrize("jump", JUMPS)
def test_a_file_that_is_open_is_reported_after_ten_minutes(shop: Shop, jump: timedelta) -> None:
    shop.inbox.being_written.add("c.csv")
    shop.drop("c.csv", b"c")
    shop.run(timedelta(0))
    shop.run(MINUTE)
    shop.jump(jump)
    shop.restart()
    for _ in range(8):
        shop.run(MINUTE)
        assert shop.journal.notices.active() == []
    shop.run(MINUTE)
    shop.run(MINUTE)
    assert [one.kind for one in shop.journal.notices.active()] == ["open file"]


@pytest.mark.parametrize("jump", JUMPS)
def test_an_empty_file_waits_for_its_time_across_a_restart(shop: Shop, jump: timedelta) -> None:
    shop.inbox.abilities = Abilities(remote=True)
    shop.restart()
    shop.drop("c.csv", b"")
    shop.run(timedelta(0))
    shop.run(MINUTE)
    shop.jump(jump)
    shop.restart()
    for _ in range(8):
        shop.run(MINUTE)
        assert shop.states() == []
    shop.run(MINUTE)
    shop.run(MINUTE)
    assert shop.states() == ["done"]


def test_a_file_that_was_empty_a_minute_ago_is_not_untouched_for_a_day_when_the_clock_jumped() -> None:
    """Its times were written by the clock as it was."""
    file = Listed("c.csv", Identity(0, int(NOON.timestamp()) * 10**9, 3, int(NOON.timestamp()) * 10**9))
    settling = Settling(SourceSpec("inbox", settle=timedelta(0)), remote=False)
    settling.recall({"c.csv": (file.identity, NOON + DAY)})
    assert settling.look([file], NOON + DAY + MINUTE).ready == ()
    assert len(settling.look([file], NOON + DAY + 10 * MINUTE).ready) == 1


@pytest.mark.parametrize("jump", JUMPS)
def test_a_filed_file_is_looked_at_for_seventy_seconds(shop: Shop, jump: timedelta) -> None:
    shop.drop("c.csv", b"c")
    shop.run(timedelta(0))
    assert shop.states() == ["done"]
    folder = "in/processed/2026-11-23"
    shop.run(timedelta(seconds=3))
    shop.jump(jump)
    for _ in range(9):
        shop.run(timedelta(seconds=5))
    shop.inbox.lay(folder, "c.csv", b"c and more")
    for _ in range(6):
        shop.run(timedelta(seconds=5))
    assert len(shop.states()) == 2, "what was written after 48 s is found after 70 s"
    for _ in range(25):
        shop.run(timedelta(seconds=5))
    assert shop.sql("SELECT count(*) FROM source WHERE recheck_until IS NOT NULL") == [(0,)]


def test_a_waiting_file_keeps_both_clocks(shop: Shop) -> None:
    see = shop.journal.waiting_files.see
    file = see("p", "f", "n", Identity(1), WaitReason.EMPTY, "", NOON, BootTime("b", 7.0))
    again = see("p", "f", "n", Identity(1), WaitReason.EMPTY, "", NOON + HOUR, BootTime("b", 9.0))
    assert (again.first_seen, again.waits_since) == (file.first_seen, BootTime("b", 7.0))


def test_even_moments_leave_out_jumps() -> None:
    clocks = Clocks()
    clock = SteadyClock(clocks.boot_clock)
    assert clock.steady(clocks.wall) == NOON
    for jump in JUMPS:
        before = clock.steady(clocks.wall)
        clocks.set(clocks.wall + jump)
        clocks.run(MINUTE)
        assert clock.steady(clocks.wall) - before == MINUTE
        assert clock.wall(clock.steady(clocks.wall)) == clocks.wall
