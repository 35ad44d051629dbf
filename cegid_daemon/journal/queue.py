"""What a message waits for: its own next try, a person, or another one of its route that blocks it. Only reads."""

from __future__ import annotations

from collections.abc import Callable

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.rows import MESSAGE_COLUMNS, Message
from cegid_daemon.journal.rows import message as message_of
from cegid_daemon.model import CLOSED, State, escape_name

_BLOCKER = (
    f"SELECT {MESSAGE_COLUMNS} FROM message WHERE route = ? AND seq < ? AND closed_at IS NULL AND lets_pass = 0 "
    "AND state IN ('waiting', 'held', 'unsure') ORDER BY seq LIMIT 1"
)


class Queue:
    """Says what keeps messages."""

    def __init__(
        self, connection: Connection, is_enabled: Callable[[str], bool] = lambda _: True,
        is_configured: Callable[[str], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        """Whether a store takes part now, and whether a route is configured."""
        self._connection = connection
        self._is_enabled = is_enabled
        self._is_configured = is_configured

    def reason(self, message: Message) -> str:
        """What a message waits for; blank: nothing, it is over."""
        if message.state in CLOSED:
            return ""
        if message.state is State.DELIVERED and self._is_enabled(message.store):
            return "delivered, and its file is being filed away"
        return self._obstacle(message) or self._turn(message)

    def _obstacle(self, message: Message) -> str:
        """What keeps a message as long as nobody changes it."""
        if not self._is_configured(message.route):
            return f"route {message.route} is no longer configured, and nothing tries it: see `cegid-daemon status`"
        return "" if self._is_enabled(message.store) else f"waits: store {message.store} is disabled"

    def _turn(self, message: Message) -> str:
        if message.state in (State.WAITING, State.HELD, State.UNSURE):
            return f"{_words(message)}{_since(message)}{_why(message)}"
        row = self._connection.one(_BLOCKER, (message.route, message.seq))
        if row is None:
            return "its turn is next"
        first = message_of(row)
        name = escape_name(first.file_name)
        return f"waits behind message {first.id} ({name}), which {_words(first)}{_since(first)}{_why(first)}"


def _words(message: Message) -> str:
    if message.state is State.WAITING:
        return "waits"
    return f"is {message.state}, for a person to decide,"


def _since(message: Message) -> str:
    return f" since {message.first_failed_at or message.received_at:%Y-%m-%d %H:%M} UTC"


def _why(message: Message) -> str:
    return f": {message.fault}" if message.fault else ""
