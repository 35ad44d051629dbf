"""The pair side by side: each record as it came, what was made of it, and the cause of every change.

Owns the page, and whether what is computed again is what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.responses import Response

from cegid_daemon.console import texts
from cegid_daemon.console.accounts import account, made_with
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.marking import stock_of
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.visibility import Visibility
from cegid_daemon.console.visit import Visit
from cegid_daemon.errors import NotThere
from cegid_daemon.journal.log import LogEntry
from cegid_daemon.journal.words import HEAD, encoding_of

COUNT = 50
_SECOND = 1 << 20  # bytes of the sent file that the pieces are compared with
_BLANKS = re.compile(r"\s+")


def pair(visit: Visit) -> Response:
    """Both sides of a message, a page of records at a time, or those that bear a key."""
    number = int(visit.request.path_params["number"])
    first, key = max(1, visit.number("first", 1, 1 << 40)), visit.asked("key").strip()[:200]
    with visit.reading() as reading:
        message = reading.ledger.message(number)
        if message is None:
            raise NotThere(
                f"there is no message {number}", remedy="The API Integration Log lists the messages there are."
            )
        made = made_with(message, visit.ground.config, reading.recipes, reading.book, reading.log)
        entries = reading.log.of_message(number)
        sent = _sent(reading, entries)
    tracer: Tracer = visit.request.app.state.tracer
    sees_all = Visibility.of(visit).route(made.route)
    told = account(tracer, message, made, first=first, count=COUNT, key=key, sees_all=sees_all)
    redact = made.route.log.redact
    return visit.page(
        "pair.html", message=message, entries=entries, told=told, first=first, key=key, count=COUNT, made=made,
        stock=stock_of(made.recipe), same=None if redact else _stands_in(told.pieces, sent), masked=redact,
    )  # fmt: skip


def _sent(reading: Reading, entries: Sequence[LogEntry]) -> str | None:
    """The start of what was sent, without blanks; None where it is not kept or there is nothing."""
    kept = [entry for entry in entries if entry.variant == "Modified" and entry.payload is not None]
    if not kept or kept[0].payload is None:
        return None
    body = reading.payloads.slice(kept[0].payload, 0, _SECOND)
    text = texts.decoded(body, encoding_of(body[:HEAD]))
    return _BLANKS.sub("", text) if len(body) < _SECOND and len(kept) == 1 else None


def _stands_in(pieces: Sequence[str], sent: str | None) -> bool | None:
    """Whether every piece stands in what was sent, to the letter but for blanks; None: not known."""
    shown = [_BLANKS.sub("", piece) for piece in pieces if piece]
    if sent is None or not shown:
        return None
    return all(piece in sent for piece in shown)
