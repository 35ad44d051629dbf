"""The long-running part: stop and wake, signals, systemd, supervision.

Owns the life of lanes and services: starts them, keeps the watchdog fed from proven progress, swaps them for new ones
on SIGHUP, drains on the first SIGTERM or SIGINT and cuts on the second. Signal handlers only set flags. Knows nothing
of files, routes or messages: `bootstrap` builds what runs here.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import FrameType
from typing import Protocol

from cegid_daemon.errors import CegidDaemonError, ConfigurationError
from cegid_daemon.lanes import Lane, Pulse, Task
from cegid_daemon.sdnotify import Notifier
from cegid_daemon.signal_flag import SignalFlag

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks at signals, services and threads
STUCK = 120.0  # seconds without progress after which the watchdog is no longer fed
ONE_REQUEST = 0.1  # seconds: signals closer together are one; `timeout`, for one, tells a process and its group
PATIENCE = 5.0  # seconds after the request to stop in which servers may still answer
_AGAIN = 0.05  # seconds
CUT = 75  # EX_TEMPFAIL: the exit code after a second signal; what was open goes on at the next start


class Service(Protocol):
    """Something that runs beside the lanes: the watcher, later the console, a drop site."""

    name: str

    def start(self) -> None:
        """Begins; returns at once."""

    def stop(self) -> None:
        """Ends; returns when ended."""

    def tend(self) -> None:
        """Puts right what has died; called every few seconds."""


@dataclass(frozen=True)
class Works:
    """What one configuration makes run."""

    tasks: Sequence[Task]
    services: Sequence[Service]
    threads: Callable[[str], int]  # how many threads a lane has
    progress: Callable[[], int]  # grows while the workers get on
    close: Callable[[], None]
    summary: Callable[[], str]
    faces: Sequence[Service] = ()  # services that people and probes ask: at a reload they answer until the lanes ended

    @property
    def all_services(self) -> Sequence[Service]:
        """All that runs beside the lanes."""
        return (*self.services, *self.faces)


class Daemon:
    """Runs works until it is told to stop."""

    def __init__(self, build: Callable[[Daemon], Works], *, clock: Callable[[], datetime], notifier: Notifier) -> None:
        self._build = build
        self._clock = clock
        self._notifier = notifier
        self.pulse = Pulse()
        self._lanes: list[Lane] = []
        self._works: Works | None = None
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # handlers put into it: see `signal_flag`
        self._stopping = SignalFlag()
        self._told_at = 0.0  # monotonic, when it was told to stop
        self._progress = 0

    def stopping(self) -> bool:
        """Whether the daemon was told to stop: nothing new is begun."""
        return self._stopping.is_set()

    def well(self) -> bool:
        """Whether every thread lives and gets on, and nothing is being stopped."""
        return not self.stopping() and all(lane.alive() for lane in self._lanes) and self.pulse.stuck_for() < STUCK

    def wake(self, task: str) -> None:
        """Makes a task due now. May be called from any thread."""
        for lane in self._lanes:
            lane.wake(task)

    def run(self) -> int:
        """Runs until stopped; returns the exit code."""
        previous = {one: signal.signal(one, self._note) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        try:
            self._start(self._build(self))
            self._notifier.ready()
            log.info("Ready. %s", self._summary())
            while not self._stopping.is_set():
                self._answer_signals()
                self._tend()
            return self._drain()
        finally:
            for one, handler in previous.items():
                signal.signal(one, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if number != signal.SIGHUP and self._stopping.is_set():
            if time.monotonic() - self._told_at < ONE_REQUEST:
                return
            os.write(2, b"Second signal: cut. What was open goes on at the next start.\n")  # no lock of the logging
            os._exit(CUT)
        if number != signal.SIGHUP:
            self._told_at = time.monotonic()
            self._stopping.set()
        self._signals.put(number)

    def _answer_signals(self) -> None:
        """Waits for signals, TICK at most, and answers them."""
        reload = False
        with suppress(queue.Empty):
            reload = self._signals.get(timeout=TICK) == signal.SIGHUP
            while True:
                reload |= self._signals.get_nowait() == signal.SIGHUP
        if reload and not self._stopping.is_set():
            self._reload()

    def _summary(self) -> str:
        return self._works.summary() if self._works else ""

    # -- life -------------------------------------------------------------------------------------------------------

    def _start(self, works: Works) -> None:
        self._works = works
        names = dict.fromkeys(task.lane for task in works.tasks)
        self._lanes = [
            Lane(
                name, [task for task in works.tasks if task.lane == name], threads=works.threads(name),
                clock=self._clock, pulse=self.pulse,
            )
            for name in names
        ]  # fmt: skip
        for lane in self._lanes:
            lane.start()
        for service in works.all_services:
            service.start()

    def _tend(self) -> None:
        assert self._works is not None
        for service in self._works.all_services:
            service.tend()
        if not all(lane.alive() for lane in self._lanes):
            raise RuntimeError("a lane's thread has died")  # systemd starts us anew; the journal knows what is open
        if self._gets_on():
            self._notifier.alive()

    def _gets_on(self) -> bool:
        """Whether every busy thread, or the workers for it, got on within STUCK seconds."""
        assert self._works is not None
        count = self._works.progress()
        if count != self._progress:
            self._progress = count
            self.pulse.refresh()
        return self.pulse.stuck_for() < STUCK

    def _reload(self) -> None:
        """Takes over a new configuration as a whole, or refuses it and goes on with the old one."""
        assert self._works is not None
        self._notifier.reloading()
        try:
            works = self._build(self)
        except CegidDaemonError as error:
            log.error("The new configuration is refused, the old one goes on: %s", error)
            for fault in error.faults if isinstance(error, ConfigurationError) else ():
                log.error("%s", fault)
        else:
            self._halt(self._works)
            self._start(works)
            log.info("Reloaded. %s", self._summary())
        self._notifier.ready()

    def _halt(self, works: Works) -> None:
        """Lets running tasks come to their end; a second signal cuts.

        At a stop, what waits for a server is broken off after PATIENCE; what works here may take as long as it takes.
        At a reload nothing is broken off, however slow a server, and the faces tell it to whoever asks meanwhile.
        """
        first, last = (works.all_services, ()) if self._stopping.is_set() else (works.services, works.faces)
        for service in first:
            service.stop()
        for lane in self._lanes:
            lane.ask_to_stop()
        for lane in self._lanes:
            while not lane.join(TICK):
                if self._gets_on():
                    self._notifier.alive()
                if self._stopping.is_set() and time.monotonic() - self._told_at > PATIENCE:
                    self._break_off(works, lane)
        for service in last:
            service.stop()
        works.close()

    def _break_off(self, works: Works, lane: Lane) -> None:
        """Ends what a lane waits for on the line, again and again: after each call that fails it may begin another."""
        log.warning("%s: a server takes too long; its connections are ended, the rest goes on at the next start",
                    lane.name)  # fmt: skip
        while not lane.join(_AGAIN):
            works.close()
            if self._gets_on():
                self._notifier.alive()

    def _drain(self) -> int:
        assert self._works is not None
        log.info("Stopping: what is under way is brought to its end. A second signal cuts.")
        self._notifier.stopping()
        self._halt(self._works)
        log.info("Stopped.")
        return 0
