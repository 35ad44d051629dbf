"""Follows a stored message through its rewriting once more, in a bounded worker of its own.

Owns the worker's life: started when a pair is first looked at, ended when nobody looked for a while, so that an idle
console costs nothing. Never touches the daemon's own workers.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cegid_daemon.console.turns import Turns
from cegid_daemon.errors import MessageError, Refused
from cegid_daemon.journal.frames import expand_frame
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Route
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.rewrite.tracing import Look
from cegid_daemon.workshop import Workshop
from cegid_daemon.workshop.orders import Finished, Limits, Order

_CORE = "cegid_daemon.rewrite.tracing:trace"
_LIMITS = Limits(seconds=20.0, seconds_per_mb=0.2)
_PATIENCE = 30.0  # seconds that a look waits for those before it
_IDLE = 120.0  # seconds after which the worker is ended


class Tracer:
    """Gives the account of records of stored messages. Thread-safe: one look at a time."""

    def __init__(self, journal: Path, spool: Path) -> None:
        self._journal = journal
        self._spool = spool  # its own folder, gone when nothing is looked at
        self._turns = Turns("the worker that computes pairs", _PATIENCE)
        self._workshop: Workshop | None = None
        self._used_at = 0.0

    def look(
        self, message: Message, route: Route, recipe: Recipe, revision: int, *, first: int, count: int, key: str
    ) -> Mapping[str, Any]:
        """The account of some records: `records`, `whole`, `pieces`. Raises MessageError, Transient, Refused."""
        if message.payload is None:
            raise Refused(f"the bytes of message {message.id} are no longer kept",
                          why='they were pruned, or "Log Requests?" was off',
                          remedy="Lengthen `payload_days` to see pairs for longer.")  # fmt: skip
        look = Look(
            message_id=message.id, message_name=route.title, received_at=message.received_at,
            source_name=message.file_name, source_folder=message.folder, route=message.route, store=message.store,
            now=message.made_at or message.received_at, first=first, count=count, key=key,
            redact=route.log.redact,
        )  # fmt: skip
        order = Order(
            recipe=recipe, job=look, store=message.store, route=message.route, revision=revision,
            message_id=message.id, payload=message.payload, raw=None, size=message.size,
        )  # fmt: skip
        with self._turns.take():
            self._used_at = time.monotonic()
            outcome = self._open().rewrite([order])[0]
        if isinstance(outcome, MessageError):
            raise outcome
        return _body(outcome)

    def _open(self) -> Workshop:
        if self._workshop is None:
            self._workshop = Workshop(self._journal, self._spool, limits=_LIMITS, workers=1, core=_CORE)
            self._workshop.start()
        return self._workshop

    def tend(self) -> None:
        """Ends the worker when nobody looked for a while."""
        if (
            self._workshop is not None
            and time.monotonic() - self._used_at > _IDLE
            and self._turns.lock.acquire(blocking=False)
        ):
            try:
                self._close()
            finally:
                self._turns.lock.release()

    def stop(self) -> None:
        """Ends the worker."""
        workshop = self._workshop
        if workshop is not None:
            workshop.stop()  # a look under way ends with an error, and gives the lock back
        with self._turns.lock:
            self._close()

    def _close(self) -> None:
        if self._workshop is not None:
            self._workshop.stop()
            self._workshop.clear_spool()
            with contextlib.suppress(OSError):
                self._spool.rmdir()
            self._workshop = None


def _body(finished: Finished) -> Mapping[str, Any]:
    try:
        raw = b"".join(expand_frame(body) for part in finished.parts for _, body in part)
    finally:
        finished.discard()
    told: Mapping[str, Any] = json.loads(raw)
    return told
