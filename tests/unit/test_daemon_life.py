"""The long-running part with works of its own: reload, refusal, drain, a dead lane."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cegid_daemon import daemon
from cegid_daemon.daemon import Daemon, Works
from cegid_daemon.errors import CegidDaemonError, ConfigurationError, JournalUnavailable
from cegid_daemon.sdnotify import Notifier


class Job:
    """A task that counts its rounds."""

    lane = "local"

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self.name = name
        self.then = then

    def run(self) -> datetime:
        self.then()
        return datetime.now(UTC) + timedelta(days=1)


def works_of(job: Job, closed: list[str]) -> Works:
    return Works([job], [], lambda _: 1, lambda: 0, lambda: closed.append(job.name), lambda: f"with {job.name}")


def daemon_of(*steps: Callable[[], Works]) -> Daemon:
    left = list(steps)
    return Daemon(lambda _: left.pop(0)(), clock=lambda: datetime.now(UTC), notifier=Notifier({}))


def tell(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def test_it_runs_its_tasks_and_drains_on_sigterm() -> None:
    closed: list[str] = []
    assert daemon_of(lambda: works_of(Job("a", tell(signal.SIGTERM)), closed)).run() == 0
    assert closed == ["a"]


def test_a_stop_breaks_off_what_waits_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "PATIENCE", 0.0)
    monkeypatch.setattr(daemon, "TICK", 0.05)
    closed: list[str] = []
    broken_off = threading.Event()

    def wait_for_the_server() -> None:
        tell(signal.SIGTERM)()
        assert broken_off.wait(10)

    works = replace(works_of(Job("a", wait_for_the_server), closed), close=broken_off.set)
    assert daemon_of(lambda: works).run() == 0
    assert broken_off.is_set()


def test_a_reload_swaps_the_works_as_a_whole() -> None:
    closed: list[str] = []
    first, second = Job("a", tell(signal.SIGHUP)), Job("b", tell(signal.SIGTERM))
    assert daemon_of(lambda: works_of(first, closed), lambda: works_of(second, closed)).run() == 0
    assert closed == ["a", "b"]


class Face:
    """A service that is asked whether all is well."""

    name = "face"

    def __init__(self) -> None:
        self.open = False

    def start(self) -> None:
        self.open = True

    def stop(self) -> None:
        self.open = False

    def tend(self) -> None:
        """Nothing dies."""


def test_faces_answer_that_all_is_well_while_a_reload_waits_for_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "TICK", 0.05)
    faces, seen, closed = [Face(), Face()], list[tuple[bool, bool]](), list[str]()
    reloading = threading.Event()

    def wait_for_the_server() -> None:
        tell(signal.SIGHUP)()
        assert reloading.wait(10)  # the console of then is still asked: the lane beside this one has ended by now
        quick = made._lanes[1]
        while not quick.join(0.05):
            pass
        seen.append((faces[0].open, made.well()))

    def first() -> Works:
        quick = Job("quick", lambda: None)
        quick.lane = "quick"
        tasks = [Job("a", wait_for_the_server), quick]
        return replace(works_of(tasks[0], closed), tasks=tasks, faces=[faces[0]])

    def second() -> Works:
        reloading.set()
        return replace(works_of(Job("b", tell(signal.SIGTERM)), closed), faces=[faces[1]])

    made = daemon_of(first, second)
    assert made.run() == 0
    assert seen == [(True, True)]
    assert not faces[0].open
    assert not faces[1].open
    assert closed == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("2 faults", faults=(CegidDaemonError("first fault"), CegidDaemonError("second fault"))),
        JournalUnavailable("the disk is full"),
    ],
)
def test_a_refused_reload_goes_on_with_the_old_works(error: CegidDaemonError, caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    rounds = [tell(signal.SIGHUP), tell(signal.SIGTERM)]

    def refuse() -> Works:
        threading.Timer(0.05, lambda: daemon.wake("a")).start()
        raise error

    def next_round() -> None:
        rounds.pop(0)()

    daemon = daemon_of(lambda: works_of(Job("a", next_round), closed), refuse)
    assert daemon.run() == 0
    assert closed == ["a"], "the old works ended once, at the end"
    assert f"refused, the old one goes on: {error}" in caplog.text
    assert all(str(fault) in caplog.text for fault in getattr(error, "faults", ()))


def test_the_same_request_told_twice_at_once_drains() -> None:
    closed: list[str] = []

    def tell_twice() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # two of one kind could arrive as one

    assert daemon_of(lambda: works_of(Job("a", tell_twice), closed)).run() == 0
