"""What a receiver says of a message, without the values that its route masks: an API and CEGID repeat what they refuse.

Owns where those values are known from: the received file, as long as its stored copy is not masked. Where they are
not, nothing of what was said is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from cegid_daemon.errors import ConfigurationError, MessageError, Refused
from cegid_daemon.journal import Journal
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Route
from cegid_daemon.rewrite import masking

WITHHELD = "what the receiver said is not kept, as the route masks fields (`redact`)"


def reply_mask(journal: Journal, route: Route, message: Message) -> Callable[[str], str]:
    """What makes a text of the receiver of `message` fit to be kept, logged and shown."""
    if not route.log.redact:
        return str
    values = _values(journal, route, message)
    return _withhold if values is None or values.too_many else values.index().mask


def _values(journal: Journal, route: Route, message: Message) -> masking.Values | None:
    """The values of the masked fields; None: nobody knows them."""
    payload = message.payload
    if payload is None or message.recipe is None or journal.masking.is_masked(payload):
        return None

    def source() -> Iterator[bytes]:
        return journal.payloads.read(payload)

    values = masking.Values(shortest=1)
    try:
        layout = journal.recipes.one(message.recipe).layout
        deque(masking.received(layout, masking.Fields.of(route.log.redact), source, values), maxlen=0)
    except (MessageError, ConfigurationError, Refused, ValueError, LookupError):
        return None
    return values


def _withhold(text: str) -> str:
    return WITHHELD if text else text
