"""The vigil: looks every few seconds for what needs a person, and has people told.

Owns what counts as trouble: messages that failed, are held or unsure, that the API refused or CEGID rejected, endpoints
that do not answer. Reads the journal; what was told is kept there, so that a restart repeats nothing. Decides nothing
of messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from cegid_daemon.alert_channels import as_line
from cegid_daemon.alerts import Send, Told, due
from cegid_daemon.clock import age
from cegid_daemon.errors import JournalUnavailable, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.overview import Overview
from cegid_daemon.journal.rows import Message

log = logging.getLogger(__name__)

_LOOK_EVERY = timedelta(seconds=10)
_SILENT_FOR = timedelta(minutes=2)  # an endpoint that fails for less may be back before anybody reads of it
_AGAIN, _AGAIN_AT_MOST = timedelta(minutes=1), timedelta(minutes=30)
_ASIDE = 5_000  # messages looked at
_KEY = "alerts_told"


class Vigil:
    """A task for a lane of its own: a chat server that hangs holds up no message."""

    name = "alerts"
    lane = "alerts"

    def __init__(
        self, journal: Journal, events: Collection[str], quiet: timedelta, send: Send, clock: Callable[[], datetime]
    ) -> None:
        self._journal = journal
        self._events = frozenset(events)
        self._quiet = quiet
        self._send = send
        self._clock = clock
        self._pause = _AGAIN

    def run(self) -> datetime:
        """One look; returns when the next is due."""
        now = self._clock()
        try:
            return now + self._look(now)
        except JournalUnavailable as error:
            log.warning("Alerts: %s", error)
            return now + _AGAIN

    def _look(self, now: datetime) -> timedelta:
        wrong = self._wrong(now)
        told = self._told()
        message = due(wrong, told, self._quiet, now)
        if message is None:
            healed = [subject for subject in told.subjects if subject in wrong or subject.startswith("endpoint ")]
            if healed != told.subjects:
                self._keep(Told(healed, told.at))
            return _LOOK_EVERY
        try:
            self._send(message.title, message.text)
        except Transient as error:
            log.warning("Alerts: %s The next try is in %s.", error, self._pause)
            pause, self._pause = self._pause, min(_AGAIN_AT_MOST, self._pause * 2)
            return pause
        self._pause = _AGAIN
        self._keep(message.told)
        return _LOOK_EVERY

    def _wrong(self, now: datetime) -> Mapping[str, str]:
        """Every trouble there is, by subject."""
        overview = Overview(self._journal.connection)
        rejected = {one.id: one for one in overview.rejected(_ASIDE)}
        aside = [one for one in overview.aside(_ASIDE) if one.id not in rejected]
        found = {f"message {one.id} {word}": _words(one, word) for one in aside if (word := self._word(one))}
        if "rejected" in self._events:
            found |= {f"message {id_} rejected": _words(one, "rejected") for id_, one in rejected.items()}
        if "endpoint" in self._events:
            for contact in overview.contacts():
                since = contact.failing_since
                if since and age(datetime.fromisoformat(since), now) >= _SILENT_FOR:
                    found[f"endpoint {contact.endpoint}"] = (
                        f"Endpoint {contact.endpoint} fails since {since}: {contact.error}"
                    )
        if "notice" in self._events:
            for notice in self._journal.notices.active():
                found[f"notice {notice.kind} {notice.subject}"] = notice.text
        return found

    def _word(self, message: Message) -> str:
        """What people are told of it; blank: nothing, as the events say. All refused is a failure too."""
        if message.refusal and "refused" in self._events and message.standing == message.refusal:
            return message.standing
        return message.state if message.state in self._events else ""

    def _told(self) -> Told:
        row = self._journal.connection.one("SELECT value FROM about WHERE key = ?", (_KEY,))
        return Told.of(row[0] if row else None)

    def _keep(self, told: Told) -> None:
        self._journal.connection.execute(
            "INSERT OR REPLACE INTO about (key, value) VALUES (?, ?)", (_KEY, told.as_text())
        )

    def test(self, who: str) -> None:
        """Sends a test now. Raises Transient naming what did not work."""
        self._send("cegid-daemon: a test", f"{as_line(who)} asked for this test. Alerts arrive here.")


def _words(message: Message, state: str) -> str:
    text = f"Message {message.id} ({message.route}, {message.file_name!r}) {state}"
    return f"{text}: {message.fault}" if message.fault else text
