"""The workshop: takes orders from any number of pipeline threads and has them rewritten by a few bounded workers.

Owns who works on what: small orders in batches, one worker kept free for them while a large one runs, and a new worker
for each that died. A hostile file or template costs a worker, never the daemon; only the message at fault fails.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from cegid_daemon.errors import CegidDaemonError, LimitExceeded, MessageError, Place, Transient
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.workshop.hiring import Cause, Nursery, Worker, WorkerDied
from cegid_daemon.workshop.orders import MIB, Bench, Finished, Limits, Order, Task
from cegid_daemon.workshop.spool import drop_leftovers, stem_of

CORE = "cegid_daemon.rewrite:rewrite"
_MOST_DEATHS = 3  # of workers in a row: the first may have another order's fault, any may be killed from outside
_REMEMBERED = 256  # recipes whose SHA-256 is known


class Workshop:
    """Rewrites messages in bounded worker processes. Thread-safe; workers start when first needed."""

    def __init__(
        self, journal: Path, spool: Path, *, limits: Limits | None = None, workers: int = 2, core: str = CORE
    ) -> None:
        self._spool = spool.absolute()
        self._limits = limits or Limits()
        self._nursery = Nursery(Bench(journal.absolute(), self._spool, self._limits, core))
        self._workers = workers
        self._most_large = max(1, workers - 1)
        self._changed = threading.Condition()
        self._open = False
        self._busy = 0
        self._large = 0
        self._idle: list[Worker] = []
        self._progress = 0
        self._names: dict[int, tuple[Recipe, str]] = {}

    @property
    def progress(self) -> int:
        """Grows with every finished order and every few MiB read or written of a large one; for the watchdog."""
        return self._progress

    def alive(self) -> bool:
        """Whether it was started and its nursery runs; `start` mends the latter, as the next order does."""
        return self._open and self._nursery.alive()

    def start(self) -> None:
        """Opens the workshop; once more does no harm."""
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._changed:
            self._open = True
        self._nursery.launch()

    def stop(self) -> None:
        """Ends every worker at once; `rewrite` calls under way raise Transient."""
        with self._changed:
            self._open = False
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        self._nursery.close()
        for worker in idle:
            worker.end()

    def clear_spool(self) -> None:
        """Removes everything in the spool: for the start, when this daemon alone holds the state folder."""
        for path in self._spool.iterdir() if self._spool.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def await_ready(self) -> None:
        """Waits until workers can be had: just after a start that takes longer than a rewriting. Raises Transient."""
        self._nursery.await_ready()

    def rewrite(self, orders: Sequence[Order]) -> list[Finished | MessageError]:
        """Each order's result, in order.

        Raises Transient (workshop stopped, no worker to be had, spool full) or JournalError when it is no message's
        fault: nothing remains then, and all of them may be tried again.
        """
        outcomes: list[Finished | MessageError] = []
        try:
            for large, run in groupby(orders, lambda order: order.size >= self._limits.small):
                for batch in ([order] for order in run) if large else (list(run),):
                    self._rewrite_batch(batch, large, outcomes)
        except BaseException:
            for outcome in outcomes:
                if isinstance(outcome, Finished):
                    outcome.discard()
            raise
        return outcomes

    def _rewrite_batch(self, batch: list[Order], large: bool, outcomes: list[Finished | MessageError]) -> None:
        """Adds a result for each. Whoever's worker died of what may not be its fault is tried again alone."""
        open_orders = deque(batch)
        deaths = 0  # of workers that had the first of them in hand
        nurseries = 0  # that were killed meanwhile
        while open_orders:
            with self._lease(large=large, fresh=deaths > 0) as worker:
                try:
                    for outcome in self._ask(worker, [open_orders[0]] if deaths else list(open_orders)):
                        outcomes.append(self._accepted(outcome))
                        open_orders.popleft()
                        deaths = 0
                except WorkerDied as died:
                    drop_leftovers(self._spool, stem_of(open_orders[0].message_id))
                    nurseries += died.cause is Cause.NURSERY
                    if self._open and nurseries == _MOST_DEATHS:
                        raise _nurseries_killed() from died
                    deaths += died.cause is not Cause.NURSERY
                    if self._open and (died.final or deaths == _MOST_DEATHS):
                        outcomes.append(_limit_exceeded(open_orders.popleft(), died, self._limits))
                        deaths = 0

    def _ask(self, worker: Worker, orders: Sequence[Order]) -> Iterator[Finished | CegidDaemonError]:
        names = [self._name_of(order.recipe) for order in orders]
        recipes = {name: order.recipe for name, order in zip(names, orders, strict=True)}
        tasks = [_task(order, name) for name, order in zip(names, orders, strict=True)]
        return worker.rewrite(tasks, recipes, self._limits, self._count)

    def _accepted(self, outcome: Finished | CegidDaemonError) -> Finished | MessageError:
        """Raises what is no message's fault. A worker that was taken over must not make us read or remove any file."""
        if isinstance(outcome, Finished):
            if all(path.parent == self._spool for path in outcome.spooled()):
                return outcome
            return MessageError("the worker names files outside of the spool", remedy="Treat the file as hostile.")
        if isinstance(outcome, MessageError):
            return outcome
        raise outcome

    def _count(self) -> None:
        self._progress += 1  # a lost count between two threads does no harm: it still grows

    def _name_of(self, recipe: Recipe) -> str:
        known = self._names.get(id(recipe))
        if known is None or known[0] is not recipe:
            if len(self._names) >= _REMEMBERED:
                self._names = {}
            known = self._names[id(recipe)] = recipe, recipe.sha256
        return known[1]

    @contextmanager
    def _lease(self, *, large: bool, fresh: bool) -> Iterator[Worker]:
        """A worker for this thread alone; ends it if it is not fit, or left in the middle of something."""
        worker = self._take(large=large, fresh=fresh)
        try:
            yield worker
        except BaseException:
            worker.end()
            raise
        finally:
            self._give_back(worker, large=large)

    def _take(self, *, large: bool, fresh: bool) -> Worker:
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._free(large))
            if not self._open:
                raise Transient("the workshop is closed", remedy="The message is rewritten at the next start.")
            self._busy += 1
            self._large += large
            worker = self._idle.pop() if self._idle else None
        try:
            if worker is not None and fresh:
                worker.end()
                worker = None
            return worker or self._nursery.spawn()
        except BaseException:
            self._leave(None, large=large)
            raise

    def _free(self, large: bool) -> bool:
        return self._busy < self._workers and (not large or self._large < self._most_large)

    def _give_back(self, worker: Worker, *, large: bool) -> None:
        if not worker.fit:
            worker.end()
        self._leave(worker if worker.fit else None, large=large)

    def _leave(self, worker: Worker | None, *, large: bool) -> None:
        with self._changed:
            self._busy -= 1
            self._large -= large
            if worker is not None and self._open:
                self._idle.append(worker)
                worker = None
            self._changed.notify_all()
        if worker is not None:
            worker.end()


def _task(order: Order, name: str) -> Task:
    return Task(name, order.job, order.store, order.route, order.revision, order.message_id, order.payload, order.raw,
                order.size)  # fmt: skip


def _nurseries_killed() -> Transient:
    return Transient(
        "the process that starts the workers is killed again and again",
        remedy="Look into the system log for who does it (memory?). The rewriting is tried again by itself.",
    )


def _limit_exceeded(order: Order, died: WorkerDied, limits: Limits) -> LimitExceeded:
    """The error for the message whose rewriting cost its worker."""
    what, limit, remedy = {
        Cause.DEADLINE: ("the rewriting took too long", f"{limits.deadline(order.size):.4g} s", _SLOW),
        Cause.CPU: ("the rewriting took too long", f"{limits.cpu_seconds(order.size):.4g} s of CPU time", _SLOW),
        Cause.MEMORY: ("the rewriting took too much memory", f"{limits.memory // MIB} MiB", _LARGE),
        Cause.NURSERY: ("the rewriting killed its worker", "", _FATAL),
        Cause.OTHER: ("the rewriting killed its worker", "", _FATAL),
    }[died.cause]
    templates = order.recipe.templates
    made_with = f"template {templates.main}" if templates else f"layout {order.recipe.layout.name}"
    why = f"{made_with}, {died.detail}" if died.detail else f"{made_with}, limit {limit}"
    return LimitExceeded(what, where=Place(route=order.route, file=order.job.source_name), why=why, remedy=remedy)


_SLOW = "Look for a loop in the template that grows with the file, then replay the message."
_LARGE = "Make the template give out each record as it comes instead of collecting them, then replay the message."
_FATAL = "Look at the file and at free memory of the machine, then replay the message."
