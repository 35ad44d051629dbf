"""The daemon's side of one nursery and of each worker: starting, giving work under a deadline, ending.

Every wait has a timeout, and a worker that does not answer in time is killed by its parent, the nursery, so that no
foreign process is ever hit. Decides nothing about messages: `pool` does.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeVar

from cegid_daemon.errors import CegidDaemonError, Transient
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.workshop import wire
from cegid_daemon.workshop.nursery import NUMBER, SPAWN
from cegid_daemon.workshop.orders import Bench, Finished, Limits, Task
from cegid_daemon.workshop.worker import OUT_OF_MEMORY

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from cegid_daemon.workshop.nursery import serve; serve(int(sys.argv[2]))"
)
_START = 60.0  # seconds the nursery may take to import the rewriting
_LOOK_SECONDS = 20.0  # between two signs that a worker is waited for
_ANSWER = 30.0  # seconds for a fork, or for the kernel to take a worker apart
_ENV = ("PATH", "HOME", "TZ", "LANG", "LD_LIBRARY_PATH")  # all else, secrets above all, stays with the daemon
_ENV_PREFIXES = ("LC_", "PYTHON")
_T = TypeVar("_T")
_MOST_RECIPES = 100  # a worker that knows more is replaced


class Cause(Enum):
    """Why a worker ended."""

    DEADLINE = "deadline"
    CPU = "cpu"
    MEMORY = "memory"
    NURSERY = "nursery"  # its nursery was killed, and every worker with it: no order is to blame
    OTHER = "other"


class WorkerDied(Exception):
    """The worker ended before the order did."""

    def __init__(self, cause: Cause, detail: str, *, fresh: bool) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.fresh = fresh  # it had finished nothing before

    @property
    def final(self) -> bool:
        """Whether the order in hand is to blame for certain: nothing done before it can have been the cause."""
        return self.cause in (Cause.DEADLINE, Cause.CPU) or (self.cause is Cause.MEMORY and self.fresh)


class Worker:
    """A worker process as the daemon sees it; used by one thread at a time."""

    def __init__(self, pid: int, sock: socket.socket, end: Callable[[int], int | None]) -> None:
        self.pid = pid
        self._sock = sock
        self._end = end
        self._known: set[str] = set()
        self._finished = 0
        self._worn = False
        self._ended = False

    @property
    def fit(self) -> bool:
        """Whether it can take more orders."""
        return not (self._ended or self._worn or len(self._known) > _MOST_RECIPES)

    def rewrite(
        self, tasks: Sequence[Task], recipes: Mapping[str, Recipe], limits: Limits, progress: Callable[[], None]
    ) -> Iterator[Finished | CegidDaemonError]:
        """The result of each task as it is finished; fewer when the worker is worn. Raises WorkerDied.

        Raises what stopped the whole batch and is no message's fault: Transient, JournalError.
        """
        unknown = {sha: recipe for sha, recipe in recipes.items() if sha not in self._known}
        self._known.update(unknown)
        deadline = self._within(limits.deadline(tasks[0].size))
        self._send((unknown, tasks), deadline)
        for task in tasks:
            if self._worn:
                return
            deadline = self._within(limits.deadline(task.size))
            yield self._result(deadline, progress)

    def end(self) -> int | None:
        """Kills it; its wait status, or None if that cannot be known any more. Does nothing the second time."""
        if self._ended:
            return None
        self._ended = True
        self._sock.close()
        return self._end(self.pid)

    def _result(self, deadline: float, progress: Callable[[], None]) -> Finished | CegidDaemonError:
        while True:
            kind, body = self._receive(deadline, progress)
            progress()
            if kind is wire.Kind.STOPPED and isinstance(body, CegidDaemonError):
                raise body
            if isinstance(body, Finished | CegidDaemonError):
                self._finished += 1
                self._worn = kind is wire.Kind.WORN
                return body

    def _send(self, body: object, deadline: float) -> None:
        try:
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            wire.send(self._sock, wire.Kind.ORDERS, body)
        except TimeoutError:
            raise self._late() from None
        except OSError:
            raise self._autopsy() from None

    def _receive(self, deadline: float, progress: Callable[[], None]) -> tuple[wire.Kind, object]:
        try:
            self._await_answer(deadline, progress)
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            return wire.receive_answer(self._sock)
        except TimeoutError:
            raise self._late() from None
        except (wire.Lost, OSError) as exc:
            raise self._autopsy() from exc

    def _await_answer(self, deadline: float, progress: Callable[[], None]) -> None:
        """Waits for bytes. A wait with an end of its own is no standstill of the daemon, and is told as progress."""
        coming = select.poll()
        try:
            coming.register(self._sock, select.POLLIN)
        except ValueError as exc:  # ended meanwhile
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from exc
        while not coming.poll(1000 * max(0.0, min(_LOOK_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise TimeoutError
            progress()

    def _within(self, seconds: float) -> float:
        return time.monotonic() + seconds

    def _late(self) -> WorkerDied:
        self.end()
        return WorkerDied(Cause.DEADLINE, "", fresh=self._finished == 0)

    def _autopsy(self) -> WorkerDied:
        cause, detail = _cause(self.end())
        return WorkerDied(cause, detail, fresh=self._finished == 0)


@dataclass
class _Running:
    """A nursery process and our end of its socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    ready: bool = False


class Nursery:
    """Starts the nursery process when needed, and has it fork and end workers. Thread-safe."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def launch(self) -> None:
        """Starts the process unless it runs; does not wait until it is ready. Raises Transient if that cannot be."""
        self._ask(lambda _running: None)

    def alive(self) -> bool:
        """Whether the process runs."""
        running = self._running
        return running is not None and running.process.poll() is None

    def spawn(self) -> Worker:
        """A new worker. Raises Transient if none can be started now."""
        return self._ask(self._spawn)

    def await_ready(self) -> None:
        """Waits until it has imported the rewriting. Raises Transient if it cannot be started now."""
        self._ask(self._await_ready)

    def _ask(self, something: Callable[[_Running], _T]) -> _T:
        with self._lock:
            try:
                return something(self._launch())
            except (OSError, wire.Lost):  # it was killed since: once more with a new one
                self._close()
            try:
                return something(self._launch())
            except (OSError, wire.Lost) as exc:
                self._close()
                raise Transient(
                    "no worker can be started for the rewriting", why=str(exc) or "the worker's nursery ended at once",
                    remedy="Look at free memory and at what stands in the journal of the service just before.",
                ) from exc  # fmt: skip

    def close(self) -> None:
        """Ends the process and all workers, whatever they are at, and waits until they are gone."""
        running = self._running
        if running is not None:
            with suppress(OSError):  # wakes the nursery, and whoever holds the lock and waits for it
                running.control.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._close()

    def _launch(self) -> _Running:
        if self._running is not None and self._running.process.poll() is None:
            return self._running
        self._close()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = _start_process(theirs, self._bench)
            except OSError:
                ours.close()
                raise
        self._running = _Running(process, ours)
        ours.settimeout(_START)
        wire.send(ours, wire.Kind.ORDERS, self._bench)
        return self._running

    def _await_ready(self, running: _Running) -> None:
        if not running.ready:
            running.control.settimeout(_START)
            self._number(running)
            running.ready = True

    def _spawn(self, running: _Running) -> Worker:
        self._await_ready(running)
        running.control.settimeout(_ANSWER)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(running.control, [NUMBER.pack(SPAWN)], [theirs.fileno()])
                pid = self._number(running)
                if pid < 0:
                    raise OSError(-pid, os.strerror(-pid))
            except BaseException:
                ours.close()
                raise
        return Worker(pid, ours, partial(self._end, running))

    def _end(self, running: _Running, pid: int) -> int | None:
        """Kills a worker; its wait status, or None if its nursery is gone, and the worker with it."""
        with self._lock:
            if self._running is not running:
                return None
            try:
                running.control.sendall(NUMBER.pack(pid))
                return self._number(running)
            except (OSError, wire.Lost):
                self._close()
                return None

    def _number(self, running: _Running) -> int:
        number = running.control.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(number) < NUMBER.size:
            raise wire.Lost
        return int(NUMBER.unpack(number)[0])

    def _close(self) -> None:
        if self._running is None:
            return
        running, self._running = self._running, None
        running.control.close()
        with running.process:
            try:
                running.process.wait(_ANSWER)
            except subprocess.TimeoutExpired:
                running.process.kill()


def _start_process(theirs: socket.socket, bench: Bench) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())],
        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_environment(bench),
        start_new_session=True,
    )  # fmt: skip


def _environment(bench: Bench) -> dict[str, str]:
    """What the nursery may know of the daemon's environment, and where temporary files belong."""
    kept = {name: value for name, value in os.environ.items() if name in _ENV or name.startswith(_ENV_PREFIXES)}
    spool = str(bench.spool)
    return {**kept, "TMPDIR": spool, "SQLITE_TMPDIR": spool, "MALLOC_ARENA_MAX": "1"}


def _cause(status: int | None) -> tuple[Cause, str]:
    """What a wait status says."""
    if status is None:
        return Cause.NURSERY, "its nursery was killed"
    code = os.waitstatus_to_exitcode(status)
    if code == OUT_OF_MEMORY:
        return Cause.MEMORY, ""
    if code == -signal.SIGXCPU:
        return Cause.CPU, ""
    ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return Cause.OTHER, f"the worker ended {ended}"
