"""The pair side by side: each record as it came, what was made of it, and the cause of every change.

Owns what a message was made with, and whether what is computed again is what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from cegid_daemon.console import texts
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.marking import masked, row_of, stock_of
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.visit import Visit
from cegid_daemon.errors import MessageError, NotThere, Refused
from cegid_daemon.journal.log import LogEntry
from cegid_daemon.journal.rows import Message
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.pipeline.envelopes import Refusal
from cegid_daemon.rewrite.masking.fields import Fields
from cegid_daemon.rewrite.recipe import Recipe

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
        recipe, revision, then = made_with(visit, reading, message)
        entries = reading.log.of_message(number)
        sent, refusals = _sent(reading, entries), refusals_of(reading, number)
    route = visit.ground.config.routes.get(message.route)
    if route is None:
        raise Refused(f"route {message.route} is no longer configured", remedy="Configure it again to see its pairs.")
    tracer: Tracer = visit.request.app.state.tracer
    told: dict[str, Any] = {"records": [], "whole": True, "pieces": False, "fault": ""}
    try:
        told.update(tracer.look(message, route, recipe, revision, first=first, count=COUNT, key=key))
    except MessageError as error:  # it took too long, or too much memory
        told["fault"] = str(error)
    told["records"] = [masked(one, Fields.of(route.log.redact)) for one in told["records"]]
    rows = [row_of(one, recipe, refusals) for one in told["records"]]
    return visit.page(
        "pair.html", message=message, entries=entries, rows=rows, told=told, first=first, key=key, count=COUNT,
        then=then, stock=stock_of(recipe), same=None if route.log.redact else _stands_in(told["records"], sent),
        masked=route.log.redact, refusals=refusals,
    )  # fmt: skip


def made_with(visit: Visit, reading: Reading, message: Message) -> tuple[Recipe, int, bool]:
    """The recipe and the buffers a message was made with; today's where it was not rewritten yet."""
    if message.recipe is not None and message.revision is not None:
        return reading.recipes.one(message.recipe), message.revision, True
    recipe = visit.ground.config.recipes.get(message.route)
    if recipe is None:
        raise Refused(f"route {message.route} is no longer configured", remedy="Configure it again to see its pairs.")
    return recipe, reading.book.current_revision(), False


def refusals_of(reading: Reading, message: int) -> list[Refusal]:
    """What the receiver refused of a message, as far as it is listed."""
    return [one for one in map(Refusal.read, reading.log.refusals(message)) if one is not None]


def _sent(reading: Reading, entries: Sequence[LogEntry]) -> str | None:
    """The start of what was sent, blanks made one; None where it is not kept or there is nothing."""
    kept = [entry for entry in entries if entry.variant == "Modified" and entry.payload is not None]
    if not kept or kept[0].payload is None:
        return None
    body = reading.payloads.slice(kept[0].payload, 0, _SECOND)
    text = texts.decoded(body, encoding_of(body[:HEAD]))
    return _BLANKS.sub("", text) if len(body) < _SECOND and len(kept) == 1 else None


def _stands_in(records: Sequence[Mapping[str, Any]], sent: str | None) -> bool | None:
    """Whether every piece stands in what was sent, to the letter but for blanks; None: not known."""
    pieces = [_BLANKS.sub("", record["piece"]) for record in records if record["piece"]]
    if sent is None or not pieces:
        return None
    return all(piece in sent for piece in pieces)
