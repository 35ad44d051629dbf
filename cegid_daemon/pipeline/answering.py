"""What an answer of the API means for its message: accepted, partly refused, refused, or deferred to a report.

Owns what is written down of an answer: the state of the delivery, the coverage, a line for each refused request, the
rejects file beside the source, the message that logs the answer and carries the reply to CEGID. All of one answer in
one transaction, so that it counts once however often its reading is begun.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Permanent, Place, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.answers import Kept
from cegid_daemon.journal.payloads import Staged
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.model import DeliveryState, Fault, Route, escape_name
from cegid_daemon.pipeline.envelopes import Tying
from cegid_daemon.pipeline.naming import numbered, rejects_name, subfolder
from cegid_daemon.pipeline.reply_masking import reply_mask
from cegid_daemon.pipeline.verdicts import Refusal, Verdict
from cegid_daemon.spreadsheets import SheetWriter

log = logging.getLogger(__name__)

_NAMED = 3  # refused requests that an error names
_LISTED = 200  # refused requests that get a line of their own among the attempts; the rejects file has all
FIRST_REPORT = timedelta(seconds=30)  # how soon a deferred answer is asked for


class ReportPending(Transient):
    """A report on deferred requests is not there yet, or not whole."""


class Answering:
    """Reads stored answers and writes down what they say."""

    def __init__(self, journal: Journal, endpoints: Mapping[str, Endpoint], beat: Callable[[], None]) -> None:
        self._journal = journal
        self._endpoints = endpoints
        self._beat = beat

    def conclude(
        self, route: Route, answers: Route | None, message: Message, delivery: Delivery, now: datetime
    ) -> Verdict:
        """Reads the answer kept with a delivery and notes all that it says.

        Raises BadInput if it cannot be read, Transient if the rejects file cannot be written now; then nothing is
        noted, and the same call may be made again.
        """
        with self._reading(route, message, delivery, late=False) as (kept, tied, verdict):
            state = DeliveryState.REFUSED if verdict.nothing_accepted else DeliveryState.DELIVERED
            with self._journal.connection.transaction():
                self._journal.outgoing.set_state([delivery.id], state, now)
                self._note(message, delivery, verdict, now)
                if verdict.deferred:
                    reports = [report or delivery.request_uid for report in verdict.reports]
                    self._journal.answers.owe(delivery, reports, now, now + FIRST_REPORT)
                self._log(route, answers, message, delivery, kept, tied, now)
        return verdict

    def conclude_late(
        self, route: Route, answers: Route | None, message: Message, delivery: Delivery, now: datetime
    ) -> Permanent | None:
        """The same for a report on requests that were deferred; the message itself is over.

        Returns what the report refuses, None if nothing. Raises ReportPending, and nothing is noted, while the report
        is not there or not whole.
        """
        with self._reading(route, message, delivery, late=True) as (kept, tied, verdict):
            if not verdict.is_final:
                raise ReportPending("the report is not there yet")
            with self._journal.connection.transaction():
                self._note(message, delivery, verdict, now)
                error = self.partly_accepted(message, late=True) if verdict.refused else None
                if error is not None:
                    self._journal.answers.mark(message.id, Fault.of(error.at(route=route.name)))
                if self._journal.answers.is_refused(delivery):
                    self._journal.outgoing.set_state([delivery.id], DeliveryState.REFUSED, now)
                self._journal.answers.settle(delivery.id)
                self._log(route, answers, message, delivery, kept, tied, now)
        if error is not None:
            log_refusal(message, error)
        return error

    @contextlib.contextmanager
    def _reading(
        self, route: Route, message: Message, delivery: Delivery, *, late: bool
    ) -> Iterator[tuple[Kept, Staged, Verdict]]:
        """The answer read, its copy with keys staged, and the rejects file written: before anything is noted."""
        kept = self._journal.answers.kept(message.id, delivery.id)
        read = self._journal.payloads.read
        known = self._known(delivery) if late else ()
        tying = Tying(
            lambda: read(delivery.payload), lambda: read(kept.payload), late=late, known=known, beat=self._beat
        )
        tied = self._journal.payloads.stage_bytes(tying.pieces())
        try:
            if tying.verdict.refused:
                tying.verdict.mask(reply_mask(self._journal, route, message))
            refusals = [*tying.verdict.refusals, *tying.verdict.strays]
            if refusals and (tying.verdict.is_final or not late):
                self._write_rejects(route, message, refusals)
            yield kept, tied, tying.verdict
        except BaseException:
            self._journal.payloads.discard(tied)
            raise

    def _known(self, delivery: Delivery) -> set[str]:
        """The ids of the requests that an earlier answer refused, of the first so many: a report names them again."""
        told = self._journal.answers.refused_requests(delivery.message, _LISTED, delivery.id)
        return {refusal.request_id for text in told if (refusal := Refusal.read(text)) is not None}

    def _note(self, message: Message, delivery: Delivery, verdict: Verdict, now: datetime) -> None:
        refusals = [*verdict.refusals, *verdict.strays]
        for refusal in refusals[:_LISTED]:
            self._journal.ledger.note(message.id, "answer", "refused", str(refusal), now, delivery.id)
        more = len(refusals) - _LISTED
        if more > 0:
            self._journal.ledger.note(message.id, "answer", "refused", f"and {more} more", now, delivery.id)
        if verdict.refused_whole:
            self._journal.ledger.note(message.id, "answer", "refused", verdict.refused_whole, now, delivery.id)
        if verdict.deferred:
            text = f"{verdict.deferred} request(s) acknowledged, to be answered by a report"
            self._journal.ledger.note(message.id, "answer", "waiting", text, now, delivery.id)
        if verdict.reasons:
            self._journal.answers.refused(message.id, verdict.reasons)
        if verdict.refused:
            self._journal.answers.refuse(delivery, verdict.requests, verdict.refused)

    def _log(
        self, route: Route, answers: Route | None, message: Message, delivery: Delivery, kept: Kept, tied: Staged,
        now: datetime,
    ) -> None:  # fmt: skip
        """Makes a message of the answer, where it is to be logged or to be turned into a reply."""
        if answers is not None and (message.logged or answers.target is not None):
            name = f"{delivery.name}.answer.xml"
            made = self._journal.claims.claim_answer(
                answers, name, kept.staged, logged=message.logged, now=now, answer_to=message.id
            )
            self._journal.answers.tie(made, tied, now)
        else:
            self._journal.payloads.discard(tied)
        if not message.logged or route.log.redact:
            self._journal.answers.drop(message.id, "answer")

    def partly_accepted(self, message: Message, *, late: bool = False) -> Permanent:
        """What is said of a message that arrived, and of which the API refused something; `late`: by a report."""
        known = self._journal.answers.refusals(message.id).values()
        refused, asked = sum(one.refused for one in known), sum(one.requests for one in known)
        first = self._journal.answers.refused_requests(message.id, _NAMED)
        why = "; ".join(first) + (f"; and {refused - len(first)} more" if refused > len(first) else "")
        after = " after it had acknowledged them" if late else ""
        return Permanent(f"the API refused {refused} of {asked} requests{after}", why=why,
                         remedy="Correct what it names, then replay the message.")  # fmt: skip

    def nothing_accepted(self, message: Message) -> Permanent:
        """The error of a message of which the API wanted nothing."""
        reasons = self._journal.answers.coverage(message.id).rejected
        worst = ", ".join(
            f"{reason} ({times})" for reason, times in sorted(reasons.items(), key=lambda one: -one[1])[:3]
        )
        return Permanent(
            "the API refused every request of the file", why=worst,
            remedy="The rejects file beside it lists them with their keys; correct what it names.",
        )  # fmt: skip

    # -- the rejects file -------------------------------------------------------------------------------------------

    def _write_rejects(self, route: Route, message: Message, refusals: Sequence[Refusal]) -> None:
        """Lays NAME.rejected.csv into failed/ of the source folder; one that says the same is not written twice."""
        endpoint = self._endpoints.get(route.source.endpoint)
        if endpoint is None:
            return  # what came from an API has no folder
        folder = subfolder(route.source.folder, "failed")
        try:
            endpoint.make_folder(folder)
            _put_once(endpoint, folder, rejects_name(message.file_name), _rejects(refusals))
        except EndpointError as exc:
            raise Transient(
                "the list of refused requests cannot be written", where=Place(file=f"{endpoint.where}/{folder}"),
                why=exc.why or exc.what, remedy="The API has answered; its answer is kept, and read again by itself.",
            ) from exc  # fmt: skip


def log_refusal(
    message: Message, error: CegidDaemonError, *, event: str = "refused", level: int = logging.WARNING
) -> None:
    """Tells the daemon's log what of a message was refused after it had arrived; it stays done."""
    about = {"route": message.route, "message_id": message.id, "store": message.store, "event": event}
    log.log(level, "message %d: %s: %s", message.id, escape_name(message.file_name), error, extra=about)


def _put_once(endpoint: Endpoint, folder: str, wanted: str, text: bytes) -> None:
    number, name = 1, wanted
    while (there := _content(endpoint, folder, name, len(text))) is not None:
        if there == text:
            return
        number += 1
        name = numbered(wanted, number)
    endpoint.put(folder, name, [text])


def _rejects(refusals: Sequence[Refusal]) -> bytes:
    file = io.StringIO()
    rows = SheetWriter(file, delimiter=";", line_end="\r\n")
    rows.writerow(("RequestID", "Key", "Reason"))
    rows.writerows((one.request_id, one.key.value, one.reason) for one in refusals)
    return file.getvalue().encode("utf-8", "backslashreplace")


def _content(endpoint: Endpoint, folder: str, name: str, size: int) -> bytes | None:
    """The bytes of a file as large as ours; blank if it has another size, None if there is none."""
    there = endpoint.stat(folder, name)
    if there is None:
        return None
    if there.identity.size != size:
        return b""
    try:
        with endpoint.read(folder, name) as reading:
            return b"".join(reading) if reading.identity.size == size else b""
    except Absent:
        return None
