"""Lanes: threads that run due tasks, one heap of due times a lane, a task never in two threads at once.

Owns when a task runs next; what a task does is its own affair. A lane that hangs on a dead server holds up no other
lane. Every wait ends at once when the lane is stopped. A task that raises is a bug: it is told and tried again later.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

log = logging.getLogger(__name__)

_AFTER_A_BUG = timedelta(seconds=30)
_PATIENCE = 0.02  # seconds a due task is left to a thread that is at work


class Task(Protocol):
    """Something to be done again and again."""

    @property
    def name(self) -> str:
        """Unique; by this name it is woken."""

    @property
    def lane(self) -> str:
        """Tasks of one lane share its threads."""

    def run(self) -> datetime:
        """Does what is to be done now; returns when it wants to run next."""


class Pulse:
    """Since when each busy thread has shown no progress; what the systemd watchdog is fed from."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._beats: dict[int, float] = {}

    def begin(self) -> None:
        """The calling thread has something to do, until it rests."""
        with self._lock:
            self._beats[threading.get_ident()] = self._monotonic()

    def beat(self) -> None:
        """The calling thread got on. One that never began works for another, which waits for it: as `refresh`."""
        with self._lock:
            me = threading.get_ident()
            if me in self._beats:
                self._beats[me] = self._monotonic()
                return
        self.refresh()

    def rest(self) -> None:
        """The calling thread has nothing to do."""
        with self._lock:
            self._beats.pop(threading.get_ident(), None)

    def refresh(self) -> None:
        """The worker processes got on, and so whoever waits for them."""
        with self._lock:  # else a thread that comes to rest meanwhile would count as busy, and soon as stuck
            self._beats = dict.fromkeys(self._beats, self._monotonic())

    def stuck_for(self) -> float:
        """Seconds since the slowest busy thread got on; 0 when none is busy."""
        with self._lock:
            return self._monotonic() - min(self._beats.values()) if self._beats else 0.0


class Lane:
    """The threads of one lane and the heap of its tasks."""

    def __init__(
        self, name: str, tasks: Sequence[Task], *, threads: int, clock: Callable[[], datetime], pulse: Pulse
    ) -> None:
        self.name = name
        self._clock = clock
        self._pulse = pulse
        self._changed = threading.Condition()
        self._stopping = False
        self._numbers = itertools.count()
        self._tasks = {task.name: task for task in tasks}
        self._due: dict[str, float] = {}  # monotonic: a clock that is set back must not put off what is due
        self._watched_until = math.inf  # when the first of the waiting threads looks again; the others only hear
        self._running: set[str] = set()
        self._woken: set[str] = set()  # woken while running: due again at once
        self._heap: list[tuple[float, int, str]] = []
        for task in tasks:
            self._push(task.name, time.monotonic())
        self._threads = [
            threading.Thread(target=self._work, name=f"lane-{name}-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Begins to run tasks."""
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        """Whether every thread still runs, or was asked to end."""
        return self._stopping or all(thread.is_alive() for thread in self._threads)

    def ask_to_stop(self) -> None:
        """No further task begins; those running end by themselves."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Waits for the running tasks; False if one still runs after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self, name: str) -> None:
        """Makes a task due now; an unknown name is no error. May be called from any thread."""
        with self._changed:
            if name in self._running:
                self._woken.add(name)
            elif name in self._tasks and self._due[name] > (now := time.monotonic()):
                self._push(name, now)
                self._changed.notify()

    def _push(self, name: str, due: float) -> None:
        """The newest entry of a task counts; older ones are passed over when they come up."""
        self._due[name] = due
        heapq.heappush(self._heap, (due, next(self._numbers), name))

    def _work(self) -> None:
        while (task := self._take()) is not None:
            self._pulse.begin()
            began = self._clock()
            due = self._run(task)
            now = self._clock()
            self._pulse.rest()
            self._give_back(task.name, (due - now).total_seconds() if now >= began else 0.0)

    def _run(self, task: Task) -> datetime:
        try:
            return task.run()
        except Exception:
            log.exception("%s failed in a way nobody foresaw; it is tried again in %s", task.name, _AFTER_A_BUG)
            return self._clock() + _AFTER_A_BUG

    def _take(self) -> Task | None:
        """The next due task; waits for it. None when the lane is to stop."""
        with self._changed:
            while not self._stopping:
                begin = self._next_begin()
                if begin <= time.monotonic():
                    name = heapq.heappop(self._heap)[2]
                    self._running.add(name)
                    if self._watched_until == math.inf:
                        self._changed.notify()  # while this thread is busy another has to look at the clock
                    return self._tasks[name]
                self._wait_for(begin)
            return None

    def _next_begin(self) -> float:
        """When the next task is to begin: a little late where a thread is at work, which may take it as well.

        A hundred short looks at one time are one thread's work; three of them would be in each other's way.
        """
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] + (_PATIENCE if self._running else 0.0) if self._heap else math.inf

    def _wait_for(self, begin: float) -> None:
        """Waits until then, or for news; only for news where another thread looks again before."""
        if begin >= self._watched_until:
            self._changed.wait()
            return
        self._watched_until = begin
        self._changed.wait(begin - time.monotonic())
        if self._watched_until == begin:
            self._watched_until = math.inf

    def _is_stale(self, entry: tuple[float, int, str]) -> bool:
        due, _, name = entry
        return name in self._running or self._due[name] != due

    def _give_back(self, name: str, wait: float) -> None:
        with self._changed:
            self._running.discard(name)
            if name in self._woken:
                self._woken.discard(name)
                wait = 0.0
            self._push(name, time.monotonic() + wait)  # this thread looks itself what is next
