"""Deferred answers: what the API acknowledged is asked for by report until it is answered.

Owns when a report is asked for and when it is given up. The message is long over; what a report says is written down
as if it had come at once. How a report is asked for is a template (ours: Aurora's public pages end here).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ulid import ULID

from cegid_daemon.clock import age
from cegid_daemon.endpoints.protocol import Endpoint, Poster
from cegid_daemon.errors import BadInput, CegidDaemonError, EndpointError, Permanent, Place, Refused, TemplateFault
from cegid_daemon.journal import Journal
from cegid_daemon.journal.answers import FollowUp
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import Fault, RetryPolicy, Route, answer_route
from cegid_daemon.pipeline.answering import FIRST_REPORT, Answering, ReportPending
from cegid_daemon.pipeline.envelopes import method_of
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.templates import compile as compile_template

log = logging.getLogger(__name__)

_LONGEST_PAUSE = timedelta(minutes=30)


@dataclass(slots=True)
class Followed:
    """What asking for reports came to."""

    errors: list[EndpointError] = field(default_factory=list)  # what kept the API from being asked
    refused: list[tuple[Message, CegidDaemonError]] = field(default_factory=list)  # by a report, after all


class Following:
    """Asks the API for the answers it owes."""

    def __init__(
        self, journal: Journal, apis: Mapping[str, Poster], endpoints: Mapping[str, Endpoint],
        routes: Mapping[str, Route], requests: Mapping[str, Templates], beat: Callable[[], None],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._apis = apis
        self._routes = routes
        self._requests = requests
        self._answering = Answering(journal, endpoints, beat)

    def follow(self, route: Route, now: datetime, *, patient: bool) -> Followed:
        """Asks for what is due on a route; `patient=False`: for all it owes."""
        followed = Followed()
        for owed in self._journal.answers.owed(route.name, now if patient else None, _LONGEST_PAUSE):
            message = self._journal.ledger.message(owed.message)
            assert message is not None
            try:
                refused = self._ask(route, message, owed, now)
            except (EndpointError, BadInput, Refused, TemplateFault) as error:
                if not isinstance(error, ReportPending):
                    told = error if isinstance(error, EndpointError) else Permanent(error.what, why=error.why)
                    followed.errors.append(told)
                self._later(route, message, owed, now)
            else:
                if refused is not None:
                    followed.refused.append((message, refused))
        return followed

    def _ask(self, route: Route, message: Message, owed: FollowUp, now: datetime) -> Permanent | None:
        """What the report refused; None: nothing. Raises ReportPending."""
        delivery = next(one for one in self._journal.outgoing.of_message(owed.message) if one.id == owed.delivery)
        self._keep_report(route, message, delivery, owed, now)
        answers = self._routes.get(answer_route(route.name))
        return self._answering.conclude_late(route, answers, message, delivery, now)

    def _keep_report(self, route: Route, message: Message, delivery: Delivery, owed: FollowUp, now: datetime) -> None:
        assert route.target is not None
        script = compile_template(self._requests[route.target.report])
        names = {"reports": owed.reports, "now": now, "route": route.name, "store": route.store}
        body = "".join(script.render(names)).encode()
        with self._apis[delivery.endpoint].post(method_of(lambda: [body]), [body], len(body), str(ULID())) as answer:
            staged = self._journal.payloads.stage_bytes(answer.body)
        if not 200 <= answer.status < 300:
            self._journal.payloads.discard(staged)
            raise Permanent("the API gave no report", where=Place(file=delivery.place), why=f"HTTP {answer.status}",
                            remedy="It is asked again by itself.")  # fmt: skip
        self._journal.answers.keep(message.id, delivery.id, staged, "ok", "report", now)

    def _later(self, route: Route, message: Message, owed: FollowUp, now: datetime) -> None:
        retry = RetryPolicy(FIRST_REPORT, _LONGEST_PAUSE, route.retry.give_up)
        if age(owed.since, now) < retry.give_up or not retry.has_tried_enough(owed.tries):
            self._journal.answers.ask_again(owed, now, now + retry.pause(owed.tries + 1))
            return
        error = Permanent(
            "the API acknowledged the request and never answered it", where=Place(route=route.name),
            why=f"it was asked for its report since {owed.since:%Y-%m-%d %H:%M} UTC",
            remedy="Look in the store whether it was taken; if not, replay the message.",
        )  # fmt: skip
        with self._journal.connection.transaction():
            self._journal.answers.settle(owed.delivery)
            self._journal.answers.mark(owed.message, Fault.of(error))
            self._journal.ledger.note(owed.message, "answer", "failed", str(error), now, owed.delivery)
        log.error("message %d: %s", message.id, error, extra={"route": route.name, "message_id": message.id})
