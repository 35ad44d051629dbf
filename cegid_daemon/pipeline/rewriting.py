"""From claimed to recorded: orders for the workshop, and what came back written down in one transaction.

A batch shares the round trip and the commit, never the fate: each message is recorded or failed by itself. What a
rewriting learnt (which variation belongs to which product, buffers of a product-field file) is written with it.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeGuard

from cegid_daemon.endpoints.protocol import Reachable
from cegid_daemon.errors import BadInput, CegidDaemonError, JournalUnavailable, LimitExceeded, MessageError, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.outgoing import Making, PartReady
from cegid_daemon.journal.payloads import Staged
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Fault, Route, State
from cegid_daemon.pipeline.targets import delivery_name
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.masking.examples import masked_examples
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.temporary import DIRECT, TemporaryPattern, upload_id
from cegid_daemon.workshop import Finished, Order, Workshop

log = logging.getLogger(__name__)

_REMEMBERED = 256  # recipes whose id is known
MOST_STARTS = 10  # starts that the end of the daemon cut off, …
LEAST_TIME = timedelta(minutes=10)  # … spread over so much time: only then the message fails
_LONGEST_PAUSE = timedelta(minutes=2)  # between two of them


class Rewriting:
    """Has messages rewritten and records what was made."""

    def __init__(
        self, journal: Journal, workshop: Workshop, endpoints: Mapping[str, Reachable], recipes: Mapping[str, Recipe]
    ) -> None:
        self._journal = journal
        self._workshop = workshop
        self._endpoints = endpoints
        self._recipes = recipes
        self._instance = journal.ledger.instance()
        self._recipe_ids: dict[int, tuple[Recipe, int]] = {}
        self._started: set[int] = set()  # messages whose rewriting this process has begun: only a kill counts

    def began(self, messages: Sequence[int]) -> None:
        """These messages were claimed by this process: their first start is counted in the claim."""
        self._started.update(messages)

    def rewrite(
        self, route: Route, batch: Sequence[Message], raws: Mapping[int, bytes], now: datetime
    ) -> list[tuple[Message, CegidDaemonError]]:
        """Rewrites a batch and records the results; returns the messages that failed, with the reason.

        Raises JournalError or Transient if nothing could be recorded now: all of it is to be done again.
        """
        failed, able = _sort_out_hopeless(route, batch, self._started, now)
        for together in _apart(able, self._started):
            self._count_start(route, together, now)
            try:
                failed += self._rewrite_together(route, together, raws, now)
            except CegidDaemonError:
                self._take_start_back(together)
                raise
            self._started.difference_update(message.id for message in together)
        return failed

    def _rewrite_together(
        self, route: Route, batch: Sequence[Message], raws: Mapping[int, bytes], now: datetime
    ) -> list[tuple[Message, CegidDaemonError]]:
        revision = self._journal.book.current_revision()
        orders = [self._order(route, message, raws.get(message.id), revision) for message in batch]
        results = self._workshop.rewrite(orders)
        try:
            failed = self._record_all(route, batch, orders, results, now)
        finally:
            for result in results:
                if isinstance(result, Finished):
                    result.discard()
        return failed

    def _count_start(self, route: Route, batch: Sequence[Message], now: datetime) -> None:
        """Counts a start that this process has not counted yet, durably, before it begins."""
        if uncounted := [message for message in batch if message.id not in self._started]:
            self._workshop.await_ready()  # a kill before then is no message's fault
            if uncounted[0].rewrite_starts > 1:  # it is alone, see `_apart`
                self._start_again(route, uncounted[0], now)
            else:
                self._journal.ledger.start_rewriting([message.id for message in uncounted])
            self._started.update(message.id for message in uncounted)

    def _start_again(self, route: Route, message: Message, now: datetime) -> None:
        """Nobody knows what ended the daemon: it is tried again, and should that go on, after growing pauses."""
        pause = min(route.retry.pause(message.rewrite_starts - 1), _LONGEST_PAUSE)
        next_try_at = now + pause
        error = Transient(
            "the daemon was ended while it rewrote this file",
            why=f"{message.rewrite_starts} starts did not finish",
            remedy="It is tried again by itself, after growing pauses; `discard` it to let those behind it go on.",
        )
        self._journal.ledger.start_rewriting_again(
            message.id, failure_fault(error, route, message), now=now, next_try_at=next_try_at
        )
        log.warning("message %d: %s", message.id, error, extra={"route": route.name, "message_id": message.id})

    def _take_start_back(self, batch: Sequence[Message]) -> None:
        """It came to nothing, but by no kill (a full disk, a stop): that may happen as often as it likes."""
        with suppress(JournalUnavailable):
            self._journal.ledger.take_start_back([message.id for message in batch])
            self._started.difference_update(message.id for message in batch)

    def _order(self, route: Route, message: Message, raw: bytes | None, revision: int) -> Order:
        recipe = self._recipes[route.name] if message.recipe is None else self._journal.recipes.one(message.recipe)
        payload = self._journal.answers.tied(message.id) if route.answers else None
        payload = payload or message.payload
        assert payload is not None
        job = Job(
            message_id=message.id,
            message_name=recipe.title,
            received_at=message.received_at,
            source_name=message.file_name,
            source_folder=message.folder,
            route=route.name,
            store=message.store,
            now=message.received_at,
        )
        return Order(
            recipe=recipe, job=job, store=message.store, route=route.name, revision=revision, message_id=message.id,
            payload=payload, raw=raw, size=message.size,
        )  # fmt: skip

    # -- records ----------------------------------------------------------------------------------------------------

    def _record_all(
        self, route: Route, batch: Sequence[Message], orders: Sequence[Order],
        results: Sequence[Finished | MessageError], now: datetime,
    ) -> list[tuple[Message, CegidDaemonError]]:  # fmt: skip
        done = [
            (message, self._making(route, message, order, result), result)
            for message, order, result in zip(batch, orders, results, strict=True)
            if isinstance(result, Finished)
        ]
        staged: list[list[Staged]] = []
        try:
            for message, _, result in done:  # outside the transaction: it may be large
                staged.append(self._stage(result))
                self._learn(route, message, result, now)
            with self._journal.connection.transaction():
                unwanted = [
                    piece
                    for (message, making, result), pieces in zip(done, staged, strict=True)
                    if not self._record(route, message, making, result, pieces, now)
                    for piece in pieces
                ]
        except BaseException:
            for piece in itertools.chain.from_iterable(staged):
                self._journal.payloads.discard(piece)
            raise
        for piece in unwanted:
            self._journal.payloads.discard(piece)
        return [
            (message, masking.tellable(result, order.recipe, route.log.redact))
            for message, order, result in zip(batch, orders, results, strict=True)
            if _is_fault(result)
        ]

    def _making(self, route: Route, message: Message, order: Order, result: Finished) -> Making:
        coverage, fields = result.rewritten.coverage, masking.Fields.of(route.log.redact)
        if coverage.remarks or coverage.skipped or coverage.notes:
            coverage = masked_examples(
                coverage, fields, kept=message.logged,
                keys_told=bool(route.log.redact) and masking.tells(order.recipe, fields),
                buffers_told=masking.reads([order.recipe.layout.buffer], fields),
            )  # fmt: skip
        if coverage.remarks:
            log.warning(
                "route %s: message %d (%s) was rewritten with remarks: %s", route.name, message.id, message.file_name,
                "; ".join(map(str, coverage.remarks)), extra={"route": route.name, "message_id": message.id},
            )  # fmt: skip
        text = json.dumps(coverage.as_json(), ensure_ascii=False)
        return Making(self._kept(order.recipe), order.revision, order.job.now, text, coverage.remarked)

    def _stage(self, result: Finished) -> list[Staged]:
        made = result.rewritten.parts
        return [
            self._journal.payloads.stage_frames(frames, part.sha256, part.size)
            for frames, part in zip(result.parts, made, strict=True)
        ]

    def _record(
        self, route: Route, message: Message, making: Making, result: Finished, staged: Sequence[Staged], now: datetime
    ) -> bool:
        """False, and nothing is recorded, if a person discarded the message meanwhile."""
        pattern = TemporaryPattern(route.target.temporary if route.target and not route.target.method else DIRECT)
        ready = [
            PartReady(
                no=part.no, records=part.records, staged=piece, place=self._place(route), name=part.name,
                temporary=pattern.path(upload_id(self._instance, message.id, part.no), part.name),
            )
            for part, piece in zip(result.rewritten.parts, staged, strict=True)
        ]  # fmt: skip
        if not self._journal.outgoing.record(message, route, making, ready, self._log_name(route), now):
            return False
        self._journal.outgoing.own(message, result.rewritten.unique_keys)
        if message.logged:
            self._journal.search.enqueue(message.id, self._findable_by(route, making, result))
        if route.answers and (route.log.redact or not message.logged):
            self._journal.answers.drop(message.id, "tie")
        if not ready or route.target is None:
            self._journal.ledger.set_state(message.id, State.DELIVERED)
        return True

    def _findable_by(self, route: Route, making: Making, result: Finished) -> Sequence[str]:
        """Keys that are made of a masked field are not indexed; file names are, in any case."""
        if not route.log.redact:
            return result.rewritten.keys
        recipe = self._journal.recipes.one(making.recipe)
        return () if masking.tells(recipe, masking.Fields.of(route.log.redact)) else result.rewritten.keys

    def _kept(self, recipe: Recipe) -> int:
        """The recipe's id in the journal; asked for once a recipe, as its hash takes longer than a small rewriting."""
        known = self._recipe_ids.get(id(recipe))
        if known is None or known[0] is not recipe:
            if len(self._recipe_ids) >= _REMEMBERED:
                self._recipe_ids.clear()
            known = self._recipe_ids[id(recipe)] = recipe, self._journal.recipes.keep(recipe)
        return known[1]

    def _learn(self, route: Route, message: Message, result: Finished, now: datetime) -> None:
        """In a transaction of its own, before the message is recorded: learnt again after a kill, nothing changes."""
        if not result.belongs and not result.buffers:
            return
        with self._journal.connection.transaction():
            if not self._journal.ledger.discarded([message.id]):
                self._learn_all(route, message, result, now)

    def _learn_all(self, route: Route, message: Message, result: Finished, now: datetime) -> None:
        who, origin = f"route {route.name}", f"message {message.id}"
        if result.belongs:
            pairs = ((sku, product) for sku, product in result.belongs)
            self._journal.book.belongs(message.store, pairs, who=who, origin=origin, now=now)
        if result.buffers:
            values = ((line, message.store, level, key, value) for level, key, value, line in result.buffers)
            report = self._journal.book.import_rows(values, who=who, origin=origin, now=now)
            log.info("route %s: %s", route.name, report, extra={"route": route.name, "message_id": message.id})

    def _place(self, route: Route) -> str:
        return self._endpoints[route.target.endpoint].where if route.target is not None else ""

    def _log_name(self, route: Route) -> str:
        if route.target is None:
            return route.title
        return delivery_name(route, self._place(route))


def _is_fault(result: Finished | MessageError) -> TypeGuard[MessageError]:
    return not isinstance(result, Finished)


def failure_fault(error: CegidDaemonError, route: Route, message: Message) -> Fault:
    """The fault of a message, with its route and file named."""
    return Fault.of(error.at(route=route.name, file=message.file_name))


def _sort_out_hopeless(
    route: Route, batch: Sequence[Message], started: Collection[int], now: datetime
) -> tuple[list[tuple[Message, CegidDaemonError]], list[Message]]:
    """Those that are not tried, with the reason, and the others. `started`: those this process has begun."""
    failed: list[tuple[Message, CegidDaemonError]] = []
    able: list[Message] = []
    for message in batch:
        if message.payload is None and not route.answers:
            failed.append((message, _too_large(message, route.source.max_size)))
        elif message.id not in started and _is_hopeless(message, now):
            failed.append((message, _killer(message)))
        else:
            able.append(message)
    return failed, able


def _is_hopeless(message: Message, now: datetime) -> bool:
    """Whether it was cut off so often, and for so long, that it is more likely the cause than not."""
    since = message.rewrite_since
    return message.rewrite_starts >= MOST_STARTS and since is not None and now - since >= LEAST_TIME


def _apart(batch: Sequence[Message], started: Collection[int]) -> list[list[Message]]:
    """Those that a kill interrupted each by itself, then the others at once: who was only beside is not to blame."""
    interrupted = {one.id for one in batch if one.id not in started and one.rewrite_starts}
    others = [one for one in batch if one.id not in interrupted]
    return [[one] for one in batch if one.id in interrupted] + ([others] if others else [])


def _too_large(message: Message, bound: int) -> BadInput:
    return BadInput(
        f"the file has {message.size} bytes; the route takes at most {bound}",
        why="it was not read",
        remedy="Split the file, or raise max_size of the source (2 GB by default, 0 = no bound).",
    )


def _killer(message: Message) -> LimitExceeded:
    return LimitExceeded(
        "the daemon was ended while it rewrote this file, again and again",
        why=f"{message.rewrite_starts} starts since {message.rewrite_since:%Y-%m-%d %H:%M} UTC did not finish",
        remedy="Look into the system log for the reason (memory?), then replay it.",
    )
