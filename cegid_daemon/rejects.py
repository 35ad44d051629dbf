"""CEGID's answer: files it could not take, found in its rejects folder and tied to the messages they came from.

Owns the look at that folder: which file is whole, which log file belongs to it, which message it was. The message stays
done; its delivery becomes `refused`, and what CEGID's log says stands beside it. Each file is looked into once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from cegid_daemon.carrying import Passed
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Permanent, Place, SourceChanged, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Delivery, Message
from cegid_daemon.listing_faults import ListingFaults
from cegid_daemon.masks import Masks
from cegid_daemon.model import CLOSED, DeliveryState, Fault, Listed, RejectsSpec, Route, SourceSpec, escape_name
from cegid_daemon.pipeline.answering import log_refusal
from cegid_daemon.pipeline.contacts import Contacts
from cegid_daemon.pipeline.naming import numbered, subfolder
from cegid_daemon.pipeline.reply_masking import reply_mask
from cegid_daemon.timing import Settling
from cegid_daemon.trouble import Troubles

log = logging.getLogger(__name__)

_MOST_LOG = 64 * 1024  # bytes of a log file that are read
_MOST_LINES = 50


class Rejects:
    """The rejects folder of one route."""

    def __init__(
        self, route: Route, rejects: RejectsSpec, endpoint: Endpoint, journal: Journal, contacts: Contacts,
        troubles: Troubles, clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self.routes = (route,)
        self.spec = SourceSpec(
            rejects.endpoint, rejects.folder, match=(*rejects.match, *rejects.log), settle=rejects.settle,
            settle_empty=rejects.settle, settle_open=False, poll=rejects.poll,
        )  # fmt: skip
        self.endpoint = endpoint
        self._rejects = rejects
        self._files = Masks(rejects.match, rejects.log)
        self._logs = Masks(rejects.log, ())
        self._journal = journal
        self._contacts = contacts
        self._troubles = troubles
        self._clock = clock
        self._settling = Settling(self.spec, remote=endpoint.abilities.remote)
        self._listing_faults = ListingFaults(
            journal, troubles, f"{endpoint.where}/{rejects.folder}".rstrip("/"), route.retry
        )

    @property
    def name(self) -> str:
        """How the log calls it."""
        return f"{self.endpoint.where}/{self.spec.folder} (rejects of {self.routes[0].name})"

    def look(self, *, patient: bool = True) -> Passed:  # noqa: ARG002
        """One pass over the folder; a place that fails is noted and tried again."""
        now = self._clock()
        passed = Passed(now + self.spec.poll)
        try:
            self._look(passed, now)
        except (EndpointError, SourceChanged) as error:
            passed.faults.append(error)
            passed.next_look = self._troubles.failed(self.name, error, self.routes[0].retry, now)
            self._contacts.failed(self.spec.endpoint, str(error), now)
        else:
            self._troubles.worked(self.name)
            self._contacts.worked(self.spec.endpoint, now)
        return passed

    def _look(self, passed: Passed, now: datetime) -> None:
        here = self.endpoint.where, self.spec.folder
        listing = self._list()
        passed.faults += self._listing_faults.examine(listing, now)
        fresh = [one for one in listing if self._is_log(one) or not self._journal.answers.looked_into(*here, one)]
        look = self._settling.look(fresh, now)
        whole = {ready.file.name: ready.file for ready in look.ready}
        files = [file for file in whole.values() if self._files.takes(file.name)]
        for file in files:
            logs = [one for one in listing if self._is_log(one) and _belongs(one.name, file.name)]
            if all(one.name in whole for one in logs):
                passed.refused += self._look_into(file, logs, now)
        waiting = [one for one in fresh if self._files.takes(one.name) and one.name not in whole]
        if waiting and look.look_again is not None:
            passed.settling = len(waiting)
            passed.next_look = min(passed.next_look, look.look_again)

    def _is_wanted(self, name: str) -> bool:
        return self._files.takes(name) or self._logs.takes(name)

    def _is_log(self, file: Listed) -> bool:
        return self._logs.takes(file.name)

    def _list(self) -> list[Listed]:
        try:
            return self.endpoint.list(self.spec.folder, self._is_wanted)
        except Absent as exc:
            raise Transient(f"the folder {self.name} is not there",
                            remedy="Make it, or correct route.….rejects.") from exc  # fmt: skip

    def _look_into(self, file: Listed, logs: Sequence[Listed], now: datetime) -> list[tuple[Message, CegidDaemonError]]:
        """Ties a file to its message and puts it away; the message with what CEGID says of it, if it is ours."""
        route = self.routes[0]
        sha256 = self._content(file)
        delivery = self._sent(route, file.name, sha256)
        if delivery is None and self._journal.answers.is_arriving(route.name, file.name, sha256):
            return []  # CEGID was faster than the commit that says it is delivered: at the next look
        message = self._journal.ledger.message(delivery.message) if delivery is not None else None
        if delivery is not None and (message is None or message.state not in CLOSED):
            return []  # still being filed away: at the next look
        said = "\n".join(text for text in map(self._text, logs) if text)
        with self._journal.connection.transaction():
            self._journal.answers.look_into(self.endpoint.where, self.spec.folder, file, _message(delivery), now)
            error = None
            if delivery is not None and message is not None:
                said = reply_mask(self._journal, route, message)(said)
                error = self._mark(route, delivery, file, said, now)
        if delivery is None:
            log.warning("%s: %s was not sent by us, or is no longer known", self.name, escape_name(file.name))
        tied: list[tuple[Message, CegidDaemonError]] = []
        if message is not None and error is not None:
            tied.append((message, error))
        for one, what in tied:
            log_refusal(one, what, event="rejected", level=logging.ERROR)
        self._put_away([file, *logs], now)
        return tied

    def _sent(self, route: Route, name: str, sha256: str) -> Delivery | None:
        """What was delivered under this name; of several, and where there is none, the content tells."""
        named = self._journal.answers.sent_as(route.name, name)
        same = [delivery for delivery, content in named if content == sha256]
        if same or named:
            return same[0] if same else named[0][0]
        return next((delivery for delivery, _ in self._journal.answers.sent_content(route.name, sha256)), None)

    def _mark(self, route: Route, delivery: Delivery, file: Listed, said: str, now: datetime) -> Permanent:
        error = Permanent(
            f"CEGID refused {escape_name(file.name)}",
            where=Place(route=route.name, file=f"{self.endpoint.where}/{self.spec.folder}"),
            why=said or "its log is not there",
            remedy="Correct what it names, then replay the message.",
        )
        self._journal.outgoing.set_state([delivery.id], DeliveryState.REFUSED, now)
        self._journal.answers.refuse(delivery, requests=1, refused=1)
        self._journal.answers.mark(delivery.message, Fault.of(error))
        self._journal.ledger.note(delivery.message, "rejects", "refused", str(error), now, delivery.id)
        return error

    def _content(self, file: Listed) -> str:
        digest = hashlib.sha256()
        with self.endpoint.read(self.spec.folder, file.name) as reading:
            for chunk in reading:
                digest.update(chunk)
        return digest.hexdigest()

    def _text(self, file: Listed) -> str:
        """The first lines of a log file, in UTF-8 or else as Windows writes them."""
        raw = b""
        with self.endpoint.read(self.spec.folder, file.name) as reading:
            for chunk in reading:
                raw += chunk[: _MOST_LOG - len(raw)]
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", "replace")
        return "\n".join(line.strip() for line in text.splitlines()[:_MOST_LINES] if line.strip())

    def _put_away(self, files: Sequence[Listed], now: datetime) -> None:
        folder = subfolder(self.spec.folder, f"processed/{now:%Y-%m-%d}")
        for file in files:
            if self._rejects.after == "delete":
                self.endpoint.remove(self.spec.folder, file.name)
            elif self._rejects.after == "archive":
                self.endpoint.make_folder(folder)
                number = 1
                while self.endpoint.stat(folder, numbered(file.name, number)) is not None:
                    number += 1
                self.endpoint.rename(self.spec.folder, file.name, folder, numbered(file.name, number), replace=False)


def _belongs(log_name: str, file_name: str) -> bool:
    """Whether a log file is named like the file: `CC_1.asc.log` or `CC_1.log` goes with `CC_1.asc`."""
    stem = file_name.rpartition(".")[0] or file_name
    rest = log_name.removeprefix(stem)
    return log_name not in (file_name, rest) and not rest[:1].isalnum()


def _message(delivery: Delivery | None) -> int | None:
    return delivery.message if delivery is not None else None
