"""Delivery to an API: posted, the answer kept, then read, then done (docs/architecture.md, the crash table).

`sending` is committed before a request leaves, and the answer is stored before anybody looks into it (`uploaded`), so a
kill leaves either a stored answer or a request that may have arrived. The latter is sent again with its own id where
the method bears that and nothing newer went out on the route; else it is `unsure`, and a person decides.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cegid_daemon.endpoints.protocol import Endpoint, Poster
from cegid_daemon.errors import (
    BadInput,
    CegidDaemonError,
    EndpointError,
    Permanent,
    Place,
    Refused,
    Transient,
    Unsure,
    Untrusted,
)
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import LONGEST_RETRY_AFTER, DeliveryState, Route, answer_route
from cegid_daemon.pipeline.answering import Answering
from cegid_daemon.pipeline.envelopes import summary_of
from cegid_daemon.pipeline.rounds import Round
from cegid_daemon.pipeline.targets import delivery_name, takes_requests
from cegid_daemon.pipeline.verdicts import Verdict

log = logging.getLogger(__name__)

_BUSY = frozenset({408, 425, 429})
_OVER = frozenset({DeliveryState.DELIVERED, DeliveryState.REFUSED, DeliveryState.CANCELLED})


def is_repeatable(method: str) -> bool:
    """Whether a request may be sent again when nobody knows whether it arrived: it sets values, or only asks."""
    return method.endswith(("Update", "Get")) or method == "ProductAdd"


class Posting:
    """Carries the deliveries of rewritten messages to APIs."""

    def __init__(
        self, journal: Journal, apis: Mapping[str, Poster], endpoints: Mapping[str, Endpoint],
        routes: Mapping[str, Route], beat: Callable[[], None],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._apis = apis
        self._beat = beat
        self._routes = routes
        self._answering = Answering(journal, endpoints, beat)

    def deliver(self, route: Route, batch: Sequence[Message], now: datetime) -> Round:
        """Posts the messages in order, as far as possible; commits each step, but not the end of the messages."""
        outcome = Round()
        for message in batch:
            try:
                refused = self._post_all(route, message, now)
            except Permanent as error:
                outcome.failed.append((message, error))
            except EndpointError as error:
                outcome.stopped = (message, error)
                break
            else:
                outcome.delivered.append(message)
                if refused is not None:
                    outcome.refused.append((message, refused))
        return outcome

    def _post_all(self, route: Route, message: Message, now: datetime) -> Permanent | None:
        """What of it the API refused; None: nothing."""
        for delivery in self._journal.outgoing.of_message(message.id):
            if delivery.state not in _OVER:
                self._beat()
                self._carry(route, message, delivery, now)
        deliveries = self._journal.outgoing.of_message(message.id)
        if all(one.state is DeliveryState.REFUSED for one in deliveries):
            raise self._answering.nothing_accepted(message)
        return self._answering.partly_accepted(message) if self._journal.answers.refusals(message.id) else None

    def _carry(self, route: Route, message: Message, delivery: Delivery, now: datetime) -> None:
        if delivery.state is DeliveryState.DUE and takes_requests(delivery.place):
            delivery = self._addressed(route, delivery)
        api = self._api(delivery)
        if delivery.state is not DeliveryState.UPLOADED:
            self._send(route, message, delivery, api, now)
        self._read(route, message, delivery, now)

    def _addressed(self, route: Route, delivery: Delivery) -> Delivery:
        """What was not sent yet goes to the API that is configured now."""
        api = self._apis.get(route.target.endpoint) if route.target is not None else None
        if (
            route.target is None
            or api is None
            or (route.target.endpoint, api.where) == (delivery.endpoint, delivery.place)
        ):
            return delivery
        now = replace(delivery, endpoint=route.target.endpoint, place=api.where)
        self._journal.outgoing.redirect(now, delivery_name(route, api.where))
        log.info(
            "message %d: goes to %s, as configured now, instead of %s", delivery.message, now.place, delivery.place
        )
        return now

    def _api(self, delivery: Delivery) -> Poster:
        api = self._apis.get(delivery.endpoint)
        if api is None:
            raise Transient(
                f"the endpoint {delivery.endpoint} is no API, or no longer configured",
                why=f"{delivery.name!r} is on its way to {delivery.place}",
                remedy="Configure it again and reload; or `discard` the message and `replay` it, which makes it anew "
                "for the target of now.",
            )
        return api

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send(self, route: Route, message: Message, delivery: Delivery, api: Poster, now: datetime) -> None:
        """Ends with a stored answer that is to be read, or raises."""
        if delivery.state in (DeliveryState.SENDING, DeliveryState.UNSURE):
            self._look_before_repeating(route, message, delivery, api, now)
        if not self._journal.outgoing.begin_sending(delivery.id):
            raise Permanent(f"message {message.id} was discarded before it was sent")  # see `Withdrawal.sort_out`
        method = route.target.method if route.target is not None else ""
        try:
            body = self._journal.payloads.read(delivery.payload)
            with api.post(method, body, delivery.size, delivery.request_uid) as answer:
                staged = self._journal.payloads.stage_bytes(answer.body)
                status, after = answer.status, answer.retry_after
        except (Transient, Untrusted):
            self._set(delivery, DeliveryState.DUE, now)
            raise
        except Unsure as error:
            self._doubt(route, message, delivery, error, now)
        except Refused as error:  # a person closed the message of a store that keeps no log
            self._set(delivery, DeliveryState.DUE, now)
            raise Permanent("the bytes of the request are gone", why=error.what) from error
        except Permanent:
            self._set(delivery, DeliveryState.UNSURE, now)
            raise
        fault = fault_of(status, after, api, method)
        state = _state_after(fault, method, status)
        with self._journal.connection.transaction():
            outcome = "ok" if fault is None else "failed" if state is DeliveryState.REFUSED else "waiting"
            self._journal.answers.keep(message.id, delivery.id, staged, outcome, f"HTTP {status}", now)
            self._set(delivery, state, now)
        if fault is not None:
            raise _doubtful(fault) if state is DeliveryState.UNSURE else self._explained(fault, message, delivery)

    def _explained(self, fault: EndpointError, message: Message, delivery: Delivery) -> EndpointError:
        """With what the answer itself says, where it is an envelope."""
        kept = self._journal.answers.kept(message.id, delivery.id)
        try:
            said = summary_of(lambda: self._journal.payloads.read(kept.payload)).reason
        except BadInput:
            return fault
        fault.why += f": {said}" if said else ""
        return fault

    def _look_before_repeating(
        self, route: Route, message: Message, delivery: Delivery, api: Poster, now: datetime
    ) -> None:
        """The request may have arrived: raises Unsure unless it can be sent again without harm."""
        method = route.target.method if route.target is not None else ""
        if not is_repeatable(method):
            why = f"{method} is not a method that can be repeated"
        elif api.where != delivery.place:
            why = f"the endpoint was {delivery.place} then, and is {api.where} now"
        elif self._journal.answers.overtaken(message.id):
            why = "something newer went out on the route since"
        else:
            log.info("message %d: %s is sent again with its own id %s", message.id, method, delivery.request_uid)
            return
        self._set(delivery, DeliveryState.UNSURE, now)
        raise Unsure(
            "it is unknown whether the request arrived", where=Place(file=f"{delivery.place}/{method}"), why=why,
            remedy="Look in the store whether it was taken, then `release` (send it again) or `discard` the message.",
        )  # fmt: skip

    def _doubt(
        self, route: Route, message: Message, delivery: Delivery, error: CegidDaemonError, now: datetime
    ) -> None:
        """Sent, and nobody knows what became of it: again with the same id where that does no harm."""
        self._look_before_repeating(route, message, delivery, self._api(delivery), now)
        raise Transient(
            error.what, where=error.where, why=error.why, remedy="It is sent again by itself, with the same id."
        ) from error

    def withdraw(self, route: Route | None, message: Message, delivery: Delivery, now: datetime) -> None:
        """A part was answered when a person discarded its message: the answer says what became of it.

        `route` is None where it is gone, and nobody can read the answer.
        """
        if route is None:
            self._set(delivery, DeliveryState.UNSURE, now)
            return
        try:
            self._conclude(route, message, delivery, now)
        except BadInput:
            self._set(delivery, DeliveryState.UNSURE, now)

    def _set(self, delivery: Delivery, state: DeliveryState, now: datetime) -> None:
        self._journal.outgoing.set_state([delivery.id], state, now)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self, route: Route, message: Message, delivery: Delivery, now: datetime) -> None:
        """Reads the stored answer and writes down what it says."""
        try:
            verdict = self._conclude(route, message, delivery, now)
        except BadInput as error:
            self._set(delivery, DeliveryState.SENDING, now)
            self._doubt(route, message, delivery, _unreadable(error, delivery), now)
        else:
            if verdict is not None and verdict.refused_whole:
                raise Permanent(
                    "the API refused the request", where=Place(file=delivery.place), why=verdict.refused_whole,
                    remedy="Correct what it names (template, token, data).",
                )  # fmt: skip

    def _conclude(self, route: Route, message: Message, delivery: Delivery, now: datetime) -> Verdict | None:
        """What the stored answer says; None: it is gone, as a person closed the message of a store without log."""
        answers = self._routes.get(answer_route(route.name))
        try:
            return self._answering.conclude(route, answers, message, delivery, now)
        except Refused:
            self._set(delivery, DeliveryState.DELIVERED, now)
            return None

    # -- ends -------------------------------------------------------------------------------------------------------

    def fates(self, message: Message) -> list[tuple[Delivery, DeliveryState]]:
        """What is to be said of the open deliveries of a message that failed."""
        deliveries: Iterable[Delivery] = self._journal.outgoing.of_message(message.id)
        return [(one, _fate(one)) for one in deliveries if one.state not in _OVER]


def _unreadable(error: BadInput, delivery: Delivery) -> BadInput:
    """The error of an answer, which is no error of the file that was sent."""
    at = f"line {error.where.line}: " if error.where.line else ""
    why = f"{at}{error.what}" + (f": {error.why}" if error.why else "")
    return BadInput("the answer of the API cannot be read", where=Place(file=delivery.place), why=why)


def _fate(delivery: Delivery) -> DeliveryState:
    return DeliveryState.CANCELLED if delivery.state is DeliveryState.DUE else DeliveryState.UNSURE


def _state_after(fault: EndpointError | None, method: str, status: int) -> DeliveryState:
    if fault is None:
        return DeliveryState.UPLOADED
    if isinstance(fault, Permanent):
        return DeliveryState.REFUSED
    may_have_worked = status in (500, 502, 504) and not is_repeatable(method)
    return DeliveryState.UNSURE if may_have_worked else DeliveryState.DUE


def fault_of(status: int, after: timedelta | None, api: Poster, method: str) -> EndpointError | None:
    """What a status means; None: the answer is to be read."""
    place = Place(file=f"{api.where}/{method}")
    if 200 <= status < 300:
        return None
    if status in _BUSY or status >= 500:
        again = Transient("the API cannot take it now", where=place, why=f"HTTP {status}",
                          remedy="It is tried again by itself.")  # fmt: skip
        return again if after is None else again.not_before(min(after, LONGEST_RETRY_AFTER))
    if 300 <= status < 400:
        return Permanent("the API points elsewhere, and redirects are not followed", where=place, why=f"HTTP {status}",
                         remedy="Correct the endpoint's url.")  # fmt: skip
    remedy = "Correct the endpoint's token." if status in (401, 403) else "See its answer: cegid-daemon log show."
    return Permanent("the API refused the request", where=place, why=f"HTTP {status}", remedy=remedy)


def _doubtful(fault: EndpointError) -> Unsure:
    return Unsure(
        "it is unknown whether the request was taken", where=fault.where, why=fault.why,
        remedy="Look in the store whether it was taken, then `release` (send it again) or `discard` the message.",
    )  # fmt: skip
