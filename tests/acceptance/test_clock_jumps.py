"""The real daemon while its clock is set: years ahead, back, and before what it saw at its last start."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.harness import Daemon, Shop, environment, route_table, rows

RETRY = 'retry = { first = "1s", longest = "2s", give_up = "1h" }\nlog = { payload_days = 30, entry_days = 30 }\n'
# Root reads everything: the daemon runs without that right, as it would as an ordinary user.
ORDINARY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []


def library() -> Path:
    """The library that shows a process another time; missing, the test fails and says what it needs."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "these tests need the package `faketime`"
    return found[0]


class Clock:
    """The wall clock that processes see; their boot clock stays as it is."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set("+0")

    def set(self, offset: str) -> None:
        """Sets the clock of running processes and of later ones: `+800d`, `-3h`."""
        aside = self._file.with_suffix(".aside")
        aside.write_text(f"{offset}\n", "ascii")
        aside.rename(self._file)

    def environment(self) -> dict[str, str]:
        return environment(
            LD_PRELOAD=str(library()), FAKETIME_TIMESTAMP_FILE=str(self._file), FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1", TZ="UTC",
        )  # fmt: skip

    @contextmanager
    def run(self, shop: Shop, prefix: Sequence[str] = ()) -> Iterator[Daemon]:
        """The daemon, ready."""
        before = dict(os.environ)
        os.environ.update(self.environment())
        try:
            daemon = Daemon([*prefix, *shop.command("run")], shop.folder)
        finally:
            os.environ.clear()
            os.environ.update(before)
        with daemon:
            daemon.ready()
            yield daemon


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, route_table("rows", extra=RETRY))


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def test_a_clock_ahead_for_some_seconds_stops_nothing_and_loses_nothing(shop: Shop, clock: Clock) -> None:
    with clock.run(shop) as daemon:
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(lambda: shop.states()["done"] == 1, "the first file")
        shop.outbox.rename(shop.outbox.with_name("away"))
        shop.drop("b.csv", rows("b"))
        daemon.wait_for(lambda: shop.states()["waiting"] == 1, "a message that waits")
        clock.set("+800d")
        daemon.wait_for(lambda: "jumped forward" in daemon.said(), "the jump, told")
        pause(4)
        assert shop.states() == {"done": 1, "waiting": 1}, "nothing is given up"
        clock.set("+0")
        daemon.wait_for(lambda: "jumped back" in daemon.said(), "the jump back, told")
        shop.outbox.with_name("away").rename(shop.outbox)
        daemon.wait_for(lambda: shop.states()["done"] == 2, "the waiting message", 10)
        shop.drop("c.csv", rows("c"))
        daemon.wait_for(lambda: shop.states()["done"] == 3, "a new file", 10)
        assert shop.sql("SELECT count(*) FROM message WHERE payload IS NULL") == [(0,)]
        assert "timedatectl" in shop.notices()["clock jump"]
        assert daemon.said().count("jumped forward") == daemon.said().count("jumped back") == 1
        daemon.kill()  # the library breaks the sleeps of an orderly end


def test_a_daemon_that_starts_with_the_clock_behind_works_and_says_so(shop: Shop, clock: Clock) -> None:
    clock.set("+800d")
    with clock.run(shop) as daemon:
        shop.outbox.rename(shop.outbox.with_name("away"))
        shop.drop("a.csv", rows("a"))
        daemon.wait_for(lambda: shop.states()["waiting"] == 1, "a message that waits")
        daemon.kill()
    clock.set("+0")
    shop.outbox.with_name("away").rename(shop.outbox)
    with clock.run(shop) as daemon:
        daemon.wait_for(lambda: shop.states()["done"] == 1, "the waiting message", 10)
        assert "clock jump" in shop.notices()
        assert daemon.said().count("jumped back") == 1
        daemon.kill()  # the library breaks the sleeps of an orderly end


def test_an_unreadable_file_holds_up_those_behind_it_though_the_clock_jumps(shop: Shop, clock: Clock) -> None:
    told = "The files behind it wait for it until"
    with clock.run(shop, ORDINARY) as daemon:
        shop.drop("a.csv", rows("a")).chmod(0)
        daemon.wait_for(lambda: told in daemon.said(), "a file that cannot be read")
        shop.drop("b.csv", rows("b"))
        for offset in ("+1d", "-1d"):
            clock.set(offset)
            pause(5)
            assert shop.states() == {}
        daemon.kill()
    with clock.run(shop, ORDINARY) as daemon:
        clock.set("+2d")
        pause(5)
        assert shop.states() == {}
        (shop.inbox / "a.csv").chmod(0o644)
        daemon.wait_for(lambda: shop.states() == {"done": 2}, "both, in order", 15)
        daemon.kill()  # the library breaks the sleeps of an orderly end
    assert shop.sql("SELECT file_name FROM message ORDER BY id") == [("a.csv",), ("b.csv",)]
