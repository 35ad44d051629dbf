"""One worker process: takes orders from its socket, rewrites one after the other, sends each result as it is finished.

Runs in a fork of the nursery, under limits the kernel keeps. Owns its read-only connection to the journal and the
recipes it was told. Never writes to the journal, delivers nothing, and trusts the daemon at the other end.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import socket
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Protocol

from cegid_daemon.errors import (
    CegidDaemonError,
    JournalDamaged,
    JournalError,
    JournalUnavailable,
    LimitExceeded,
    MessageError,
    Place,
    Transient,
)
from cegid_daemon.journal.book_reader import BookReader
from cegid_daemon.journal.reader import connect, read_payload
from cegid_daemon.rewrite.buffers import Stocking
from cegid_daemon.rewrite.ports import Book, Job, Rewritten, Sink
from cegid_daemon.rewrite.reads import fields_read
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.rewrite.travel import StayedBehind, travels
from cegid_daemon.workshop.orders import Bench, Finished, Limits, Task
from cegid_daemon.workshop.reading import Reading, second_hand
from cegid_daemon.workshop.spool import SpoolSink, counted
from cegid_daemon.workshop.wire import Kind, Lost, receive_orders, send

OUT_OF_MEMORY = 77  # exit status
TICK = 4 * 1024 * 1024  # a sign of progress each time so many bytes were read or written


class Core(Protocol):
    """The pure core, `cegid_daemon.rewrite.rewrite`."""

    def __call__(
        self,
        recipe: Recipe,
        job: Job,
        open_source: Callable[[], Iterable[bytes]],
        book: Book,
        sink: Sink,
        /,
        *,
        scratch: Callable[[], IO[bytes]],
        stock: Stocking = ...,
    ) -> Rewritten:
        """Rewrites one message; raises MessageError."""


def work(sock: socket.socket, bench: Bench, core: Core) -> None:
    """Works until the daemon closes its end of `sock`. Ends the process when it is out of memory or worn."""
    bound(bench.limits)
    worker = _Worker(sock, bench, core)
    with suppress(Lost, BrokenPipeError, ConnectionResetError):
        while (body := receive_orders(sock)) is not None:
            recipes, tasks = body
            worker.recipes.update(recipes)
            worker.serve(tasks)


def bound(limits: Limits) -> None:
    """Puts this process under the limits that hold for its whole life."""
    _lower(resource.RLIMIT_DATA, limits.memory)
    _lower(resource.RLIMIT_AS, limits.memory + _mapped())
    _lower(resource.RLIMIT_FSIZE, limits.spool)
    _lower(resource.RLIMIT_CORE, 0)


class _Worker:
    """The recipes, the journal and the socket of one worker."""

    def __init__(self, sock: socket.socket, bench: Bench, core: Core) -> None:
        self._sock = sock
        self._bench = bench
        self._core = core
        self._moved = 0  # bytes read and written since the last sign of progress
        self._connection: sqlite3.Connection | None = None
        self.recipes: dict[str, Recipe] = {}

    @property
    def _journal(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._bench.journal, readonly=True)
        return self._connection

    def _leave_journal(self) -> None:
        """SQLite's connections do not survive a fork; the next use opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def serve(self, tasks: Iterable[Task]) -> None:
        """Each task's result is sent before the next one is begun."""
        for task in tasks:
            kind, outcome = self._attempt(task)
            worn = kind is Kind.RESULT and _peak_memory() > self._bench.limits.worn
            send(self._sock, Kind.WORN if worn else kind, outcome)
            if worn or kind is Kind.STOPPED:
                break

    def _attempt(self, task: Task, *, alone: bool = False) -> tuple[Kind, Finished | CegidDaemonError]:
        """Rewrites, and sorts what goes wrong: the message's fault, nobody's (STOPPED), or the end of this process."""
        _allow_cpu(self._bench.limits.cpu_seconds(task.size))
        sink = SpoolSink(self._bench.spool, task.message_id, self._tick)
        try:
            return Kind.RESULT, self._rewrite(task, sink, alone=alone)
        except StayedBehind:
            sink.drop()
            return self._attempt(task, alone=True)
        except Exception as exc:
            error = _classified(exc, task)
            sink.drop()
            return (Kind.RESULT if isinstance(error, MessageError) else Kind.STOPPED), error

    def _rewrite(self, task: Task, sink: SpoolSink, *, alone: bool) -> Finished:
        recipe = self.recipes[task.recipe]
        if alone or task.size < self._bench.limits.small or not travels(recipe.layout):
            return self._rewritten(partial(self._core, scratch=self._scratch), task, sink)
        self._leave_journal()
        reading = Reading(
            recipe.layout, fields_read(recipe), lambda: self._received(task), lambda: self._book(task), self._scratch,
            lambda exc: _classified(exc, task),
        )  # fmt: skip
        with second_hand(reading, closed=[self._sock], tick=self._tick) as stock:
            return self._rewritten(partial(self._core, scratch=self._scratch, stock=stock), task, sink)

    def _rewritten(self, core: Callable[..., Rewritten], task: Task, sink: SpoolSink) -> Finished:
        rewritten = core(self.recipes[task.recipe], task.job, lambda: self._source(task), self._book(task), sink)
        return Finished(rewritten, *sink.made())

    def _book(self, task: Task) -> BookReader:
        return BookReader(self._journal, task.store, task.route, task.revision, task.message_id)

    def _scratch(self) -> IO[bytes]:
        return TemporaryFile(dir=self._bench.spool)  # has no name: gone with the worker

    def _source(self, task: Task) -> Iterable[bytes]:
        received = self._received(task)
        return received if task.raw is not None else counted(received, self._tick)

    def _received(self, task: Task) -> Iterable[bytes]:
        if task.raw is not None:
            return (task.raw,) if task.raw else ()
        return read_payload(self._journal, task.payload)

    def _tick(self, moved: int) -> None:
        self._moved += moved
        if self._moved >= TICK:
            self._moved = 0
            send(self._sock, Kind.PROGRESS)


def _classified(exc: Exception, task: Task) -> CegidDaemonError:
    """What went wrong, as the daemon is told. Ends the process if memory ran out."""
    if _out_of_memory(exc):
        os._exit(OUT_OF_MEMORY)
    place = Place(route=task.route, file=task.job.source_name)
    if isinstance(exc, MessageError | JournalError | Transient):
        return exc
    if isinstance(exc, CegidDaemonError):
        return MessageError(exc.what, where=place, why=exc.why, remedy=exc.remedy)
    if isinstance(exc, sqlite3.Error):
        return _journal_fault(exc)
    if isinstance(exc, OSError):
        return _disk_fault(exc, place)
    return MessageError(
        "the rewriting failed by a fault of cegid-daemon itself", where=place, why=_last_line(exc),
        remedy="Report it with the file; the other messages go on.",
    )  # fmt: skip


def _journal_fault(exc: sqlite3.Error) -> CegidDaemonError:
    damaged = getattr(exc, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    kind = JournalDamaged if damaged else JournalUnavailable
    return kind("a worker cannot read the journal", why=str(exc), remedy="`cegid-daemon check` says more.")


def _disk_fault(exc: OSError, place: Place) -> CegidDaemonError:
    if exc.errno == errno.EFBIG:
        return LimitExceeded("the rewriting wrote too large a file", where=place, why="the spool's limit for one file",
                             remedy="Set `batch` in the route's output, or correct the template.")  # fmt: skip
    return Transient("the spool cannot be written now", why=str(exc),
                     remedy="Look at free space and permissions of the state folder.")  # fmt: skip


def _last_line(exc: Exception) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}: {exc}{where}"


def _out_of_memory(exc: BaseException | None) -> bool:
    """Whether memory ran out at the bottom of it, whatever it was turned into on the way up."""
    while exc is not None:
        if isinstance(exc, MemoryError) or getattr(exc, "errno", None) == errno.ENOMEM:
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _allow_cpu(seconds: float) -> None:
    """CPU time counts from the start of the process; only the soft limit can be raised again for the next order."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (bounded, bounded))


def _mapped() -> int:
    """Bytes of address space that libraries and the interpreter take already."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
