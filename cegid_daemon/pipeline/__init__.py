"""The pipeline: carries messages from claim to done, resumable at every step, in batches.

Owns the order of the steps and of their commits (docs/architecture.md): rewritten and recorded → put aside → uploaded →
renamed → delivered → source filed → done. Takes a route and some of its open messages in order; whatever was done
before a kill is found in the journal. Never lists a source and never waits: what must wait is written down with the
time of its next try.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cegid_daemon.clock import SteadyClock, age
from cegid_daemon.endpoints.protocol import Endpoint, Poster
from cegid_daemon.errors import CegidDaemonError, EndpointError, Permanent, Transient, Unsure
from cegid_daemon.journal import Journal
from cegid_daemon.journal.newer import overtaken_by
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import CLOSED, LONGEST_RETRY_AFTER, Listed, Route, State, escape_name
from cegid_daemon.pipeline.answering import log_refusal
from cegid_daemon.pipeline.contacts import Contacts
from cegid_daemon.pipeline.delivering import Delivering
from cegid_daemon.pipeline.filing import Filing
from cegid_daemon.pipeline.following import Followed, Following
from cegid_daemon.pipeline.posting import Posting
from cegid_daemon.pipeline.rechecking import Rechecked
from cegid_daemon.pipeline.rewriting import Rewriting, failure_fault
from cegid_daemon.pipeline.rounds import Round
from cegid_daemon.pipeline.withdrawal import Withdrawal
from cegid_daemon.rewrite.recipe import Recipe, Templates
from cegid_daemon.workshop import Workshop

__all__ = ["Carried", "Pipeline", "Prepared"]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Carried:
    """What one step over a batch came to."""

    delivered: int = 0
    failed: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)
    refused: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # arrived, and taken over in part
    stopped: tuple[Message, CegidDaemonError] | None = None  # waits or is unsure; blocks the route
    held: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # overtaken; a person decides
    unfiled: list[CegidDaemonError] = field(default_factory=list)  # delivered, but the original could not be filed yet

    def leave_out(self, decided: Collection[int]) -> None:
        """Says nothing of messages that a person closed meanwhile."""
        self.failed = [(message, error) for message, error in self.failed if message.id not in decided]
        self.refused = [(message, error) for message, error in self.refused if message.id not in decided]
        self.held = [(message, error) for message, error in self.held if message.id not in decided]
        if self.stopped is not None and self.stopped[0].id in decided:
            self.stopped = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch after its rewriting: what can be delivered, and what could not be rewritten."""

    route: Route
    alive: Sequence[Message]
    failed: Sequence[tuple[Message, CegidDaemonError]]


class Pipeline:
    """Carries messages from claim to done."""

    def __init__(
        self, journal: Journal, workshop: Workshop, endpoints: Mapping[str, Endpoint], routes: Mapping[str, Route],
        recipes: Mapping[str, Recipe], beat: Callable[[], None], *, apis: Mapping[str, Poster] | None = None,
        requests: Mapping[str, Templates] | None = None, clock: SteadyClock | None = None,
    ) -> None:  # fmt: skip
        """`clock` None: the wall clock never jumps."""
        apis = apis or {}
        self._journal = journal
        self._apis = apis
        self._routes = routes
        self.rewriting = Rewriting(journal, workshop, {**endpoints, **apis}, recipes)
        self._posting = Posting(journal, apis, endpoints, routes, beat)
        self._following = Following(journal, apis, endpoints, routes, requests or {}, beat)
        self._delivering = Delivering(journal, endpoints, beat)
        self._filing = Filing(journal, endpoints, routes, clock or SteadyClock(None))
        self._withdrawal = Withdrawal(journal, self._delivering, self._posting)
        self.contacts = Contacts(journal)

    def carry(self, route: Route, batch: Sequence[Message], raws: Mapping[int, bytes], now: datetime) -> Carried:
        """Carries open messages of one route, in order, as far as they go; the rest is noted in the journal.

        `raws` are the received bytes of messages just claimed, where at hand. Raises JournalError when nothing can be
        written down; the same call may then be made again.
        """
        return self.finish(self.prepare(route, batch, raws, now), now)

    def prepare(self, route: Route, batch: Sequence[Message], raws: Mapping[int, bytes], now: datetime) -> Prepared:
        """The first half: rewritten and recorded. The next batch may be prepared while this one is finished."""
        unwritten = [message for message in batch if message.made_at is None]
        failed = self.rewriting.rewrite(route, unwritten, raws, now) if unwritten else []
        broken = {message.id for message, _ in failed}
        return Prepared(route, [message for message in batch if message.id not in broken], failed)

    def finish(self, prepared: Prepared, now: datetime, *, deliver: bool = True) -> Carried:
        """The second half: delivered, filed, done. `deliver=False` only fails what could not be rewritten."""
        route = prepared.route
        carried = Carried(failed=list(prepared.failed))
        alive = self._again(prepared.alive if deliver else ())
        outgoing = [message for message in alive if message.state is not State.DELIVERED]
        sent = self._carrier(route).deliver(route, outgoing, now)
        carried.failed += sent.failed
        carried.refused = list(sent.refused)
        carried.stopped = sent.stopped
        carried.held = [(message, _overtaken(message, error)) for message, error in sent.overtaken]
        self._give_up(route, carried, now)
        arrived = self._commit(route, carried, sent, alive, now)
        self._file_away([*arrived, *(message for message, _ in carried.failed)], carried, now)
        return carried

    def follow(self, route: Route, now: datetime, *, patient: bool) -> Followed:
        """Asks the API for the answers it deferred on a route."""
        return self._following.follow(route, now, patient=patient) if self._posts(route) else Followed()

    def recheck(self, place: str, folder: str, now: datetime, *, patient: bool) -> Rechecked:
        """Looks again at files taken from this folder a moment ago; what they say now becomes messages."""
        return self._filing.recheck.check(place, folder, now, patient=patient)

    def adopt_moved(
        self, here: tuple[str, str], listed: Iterable[Listed], routes: Collection[str], *, left: bool
    ) -> set[str]:
        """The names among files that no message was made of here, but in another folder: they are known from now on."""
        return self._filing.moved.adopt(here, listed, routes, left=left)

    def _posts(self, route: Route) -> bool:
        return route.target is not None and route.target.endpoint in self._apis

    def _carrier(self, route: Route) -> Delivering | Posting:
        return self._posting if self._posts(route) else self._delivering

    def _again(self, messages: Iterable[Message]) -> list[Message]:
        found = (self._journal.ledger.message(message.id) for message in messages)
        return [message for message in found if message is not None and message.state not in CLOSED]

    def _commit(
        self, route: Route, carried: Carried, sent: Round, batch: Sequence[Message], now: datetime
    ) -> list[Message]:
        """Writes down what arrived, what failed and what waits; returns the messages that arrived."""
        fates = [fate for message, _ in carried.failed for fate in self._carrier(route).fates(message)]
        with self._journal.connection.transaction():
            self._delivering.commit_delivered(sent, now)
            self._delivering.commit_fates(fates, now)
            carried.leave_out(self._withdrawal.sort_out([*batch, *(one for one, _ in carried.failed)], sent, now))
            carried.delivered = len(sent.delivered)
            arrived = [*sent.delivered, *(message for message in batch if message.state is State.DELIVERED)]
            for message in sent.delivered:
                self._journal.ledger.set_state(message.id, State.DELIVERED)
            for message, error in carried.refused:
                self._journal.answers.mark(message.id, failure_fault(error, route, message))
            for message, error in carried.failed:
                self._fail(route, message, error, now)
                self._journal.answers.sum_up_refusals(message.id)
            for message, error in carried.held:
                self._hold(route, message, error, now)
            if carried.stopped:
                self._stop(route, *carried.stopped, now)
            if sent.delivered and route.target is not None:
                self.contacts.worked(route.target.endpoint, now)
            self._journal.ledger.close([message.id for message in arrived if message.source is None], State.DONE, now)
        for message in sent.delivered:
            log.info("message %d: %s delivered", message.id, escape_name(message.file_name), extra=_fields(message))
            self._tell_if_late(message)
        for message, error in carried.refused:
            log_refusal(message, error)
        if not self._posts(route):
            self._delivering.take_back(fates, now)
        return arrived

    def _tell_if_late(self, message: Message) -> None:
        newer = overtaken_by(self._journal.connection, message)
        if newer:
            log.warning(
                "message %d: %s went out after %d newer message(s) of route %s: its numbers may be older than theirs",
                message.id, escape_name(message.file_name), newer, message.route, extra=_fields(message),
            )  # fmt: skip

    def _give_up(self, route: Route, carried: Carried, now: datetime) -> None:
        """A message that waited for longer than the route allows fails, and no longer blocks those behind it.

        Unless it was hardly tried in that time: the clock jumped then, or the machine was off.
        """
        if carried.stopped is None or isinstance(carried.stopped[1], Unsure):
            return
        message, error = carried.stopped
        if message.first_failed_at is None or age(message.first_failed_at, now) < route.retry.give_up:
            return
        if route.retry.has_tried_enough(message.tries, _asked(error) or timedelta(0)):
            carried.failed.append((message, _given_up(message, error)))
            carried.stopped = None

    def _fail(self, route: Route, message: Message, error: CegidDaemonError, now: datetime) -> None:
        fault = failure_fault(error, route, message)
        self._journal.ledger.fail(message.id, fault, now)
        if message.logged:
            self._journal.search.owe(message.id)
        self._journal.ledger.note(
            message.id, "rewrite" if message.made_at is None else "deliver", "failed", str(fault), now
        )
        log.error("message %d failed: %s", message.id, fault, extra=_fields(message))

    def _hold(self, route: Route, message: Message, error: CegidDaemonError, now: datetime) -> None:
        fault = failure_fault(error, route, message)
        self._journal.ledger.hold_overtaken(message.id, fault)
        self._journal.ledger.note(message.id, "deliver", "held", str(fault), now)
        log.warning("message %d is held: %s", message.id, fault, extra=_fields(message))

    def _stop(self, route: Route, message: Message, error: CegidDaemonError, now: datetime) -> None:
        fault = failure_fault(error, route, message)
        if isinstance(error, Unsure):
            self._journal.ledger.stop(message.id, State.UNSURE, fault)
            outcome = "unsure"
        else:
            asked = _asked(error)
            next_try_at = now + (route.retry.pause(message.tries + 1) if asked is None else asked)
            self._journal.ledger.wait(message, fault, now=now, next_try_at=next_try_at)
            outcome = "waiting"
        self._journal.ledger.note(message.id, "deliver", outcome, str(fault), now)
        if route.target is not None and outcome == "waiting":  # unsure says nothing of the endpoint of today
            self.contacts.failed(route.target.endpoint, str(fault), now)

    # -- what is left over ------------------------------------------------------------------------------------------

    def take_back(self, routes: Collection[Route], now: datetime) -> list[EndpointError]:
        """Finds out about parts that were on their way when a person discarded their messages, and takes them back.

        Returns what keeps it from being told now.
        """
        return self._withdrawal.settle(routes, self._apis, now)

    def take_back_left_over(self, now: datetime) -> list[EndpointError]:
        """The same for messages of routes that are gone."""
        return self._withdrawal.settle_gone(self._routes.values(), self._apis, now)

    def file_pending(self, routes: Collection[str], now: datetime, at: tuple[str, str] | None = None) -> Carried:
        """Goes on with files whose messages are over, but which are not filed away yet.

        Of all messages of these routes, or of those whose file was taken from the place and folder `at`.
        """
        carried = Carried()
        if unclosed := self._journal.ledger.unclosed(routes):
            with self._journal.connection.transaction():
                self._journal.ledger.close(unclosed, State.DONE, now)
        if unfiled := self._journal.sources.unfiled(routes, at):
            carried.unfiled += self._filing.file(unfiled, now)
        return carried

    def file_left_over(self, now: datetime) -> list[CegidDaemonError]:
        """Goes on with files none of whose messages is on its way or of a route that is configured.

        Returns an error for each file that cannot be filed away now.
        """
        routes = self._routes.keys()
        if unclosed := self._journal.ledger.unclosed(self._journal.moves.delivered_routes(routes)):
            with self._journal.connection.transaction():
                self._journal.ledger.close(unclosed, State.DONE, now)
        return self._filing.file(self._journal.sources.left_over(routes), now)

    def clear_target(self, route: Route) -> None:
        """Removes what a kill left put aside in the route's target folder. Raises EndpointError."""
        self._delivering.leftovers.clear(route)

    def _file_away(self, messages: Sequence[Message], carried: Carried, now: datetime) -> None:
        sources = dict.fromkeys(message.source for message in messages if message.source is not None)
        carried.unfiled += self._filing.file(list(sources), now)


def _fields(message: Message) -> dict[str, object]:
    return {"route": message.route, "message_id": message.id, "store": message.store}


def _asked(error: CegidDaemonError) -> timedelta | None:
    """The pause that the other side asked for, bounded."""
    after = error.after if isinstance(error, Transient) else None
    return None if after is None else min(after, LONGEST_RETRY_AFTER)


def _overtaken(message: Message, error: CegidDaemonError) -> CegidDaemonError:
    """The same error for a person, where those behind arrived first: sent by itself, it would put older over newer."""
    return Transient(
        error.what,
        where=error.where,
        why=f"{error.why or 'it could not be renamed'}; newer messages of its route arrived meanwhile",
        remedy=f"Compare: `cegid-daemon release {message.id}` sends it after them, `discard {message.id}` does not.",
    )


def _given_up(message: Message, error: CegidDaemonError) -> CegidDaemonError:
    """The same error for a person: nothing goes on by itself any more."""
    return Permanent(
        error.what,
        where=error.where,
        why=error.why,
        remedy=f"It was tried since {message.first_failed_at:%Y-%m-%d %H:%M} UTC and given up: remove the cause, "
        f"then run `cegid-daemon replay {message.id}`.",
    )
