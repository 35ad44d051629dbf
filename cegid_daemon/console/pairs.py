"""The pair side by side: each record as it came, what was made of it, and the cause of every change.

Owns the marking: which words of the output stand in the file, which come from a buffer, which from the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from starlette.responses import Response

from cegid_daemon.console import texts
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.visit import Visit
from cegid_daemon.errors import MessageError, NotThere, Refused
from cegid_daemon.journal.log import LogEntry
from cegid_daemon.journal.rows import Message
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.rewrite.masking.fields import Fields, starred
from cegid_daemon.rewrite.masking.values import SHORTEST
from cegid_daemon.rewrite.recipe import Recipe

COUNT = 50
_MARKUP = re.compile(r"(<[^>]*>)")
_CELLS = re.compile(r"([;|\t\r\n]+)")
_SECOND = 1 << 20  # bytes of the sent file that the pieces are compared with
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of output. `kind`: markup | same | buffer | template."""

    text: str
    kind: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A stock value and what became of it."""

    sku: str
    product: str
    before: str
    after: str
    cause: str
    changed: bool


@dataclass(frozen=True, slots=True)
class PairRow:
    """One record on both sides."""

    number: int
    line: int
    key: str
    fields: Sequence[tuple[str, str, bool]]  # name, value, whether the value stands in the output
    changes: Sequence[Change]
    left_out: str
    marks: Sequence[Mark]


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
        recipe, revision, then = _made_with(visit, reading, message)
        entries = reading.log.of_message(number)
        sent = _sent(reading, entries)
    route = visit.ground.config.routes.get(message.route)
    if route is None:
        raise Refused(f"route {message.route} is no longer configured", remedy="Configure it again to see its pairs.")
    tracer: Tracer = visit.request.app.state.tracer
    told: dict[str, Any] = {"records": [], "whole": True, "pieces": False, "fault": ""}
    try:
        told.update(tracer.look(message, route, recipe, revision, first=first, count=COUNT, key=key))
    except MessageError as error:  # it took too long, or too much memory
        told["fault"] = str(error)
    masked = Fields.of(route.log.redact)
    told["records"] = [_masked(one, masked) for one in told["records"]]
    rows = [_row(one, recipe) for one in told["records"]]
    return visit.page(
        "pair.html", message=message, entries=entries, rows=rows, told=told, first=first, key=key, count=COUNT,
        then=then, stock=_stock(recipe), same=None if route.log.redact else _stands_in(told["records"], sent),
        masked=route.log.redact, direction=route.kind,
    )  # fmt: skip


def _made_with(visit: Visit, reading: Reading, message: Message) -> tuple[Recipe, int, bool]:
    """The recipe and the buffers a message was made with; today's where it was not rewritten yet."""
    if message.recipe is not None and message.revision is not None:
        return reading.recipes.one(message.recipe), message.revision, True
    recipe = visit.ground.config.recipes.get(message.route)
    if recipe is None:
        raise Refused(f"route {message.route} is no longer configured", remedy="Configure it again to see its pairs.")
    return recipe, reading.book.current_revision(), False


def _stock(recipe: Recipe) -> str:
    """How the stock is read from the fields."""
    layout = recipe.layout
    return layout.stock or next((one.stock for one in layout.stocks), "")


def _template(recipe: Recipe) -> str:
    return recipe.templates.main if recipe.templates else ""


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


def _masked(record: Mapping[str, Any], masked: Fields) -> Mapping[str, Any]:
    """The record without what its route masks, on both sides; the stored copy is masked once the message is closed."""
    hidden = {value for name, value in record["fields"].items() if _is_masked(name, masked) and value.strip()}
    if not hidden:
        return record
    fields = {name: starred(value) if value in hidden else value for name, value in record["fields"].items()}
    piece = record["piece"]
    for value in sorted((one.strip() for one in hidden), key=len, reverse=True):
        if len(value) >= SHORTEST:
            for form in {value, value.upper(), value.lower(), escape(value)}:
                piece = piece.replace(form, starred(form))
    key = starred(record["key"]) if record["key"] in hidden else record["key"]
    return {**record, "fields": fields, "piece": piece, "key": key}


def _is_masked(path: str, masked: Fields) -> bool:
    name = path.rpartition("/")[2].partition("[")[0]
    return name[1:] in masked.attributes if name.startswith("@") else name in masked.names


def _row(record: Mapping[str, Any], recipe: Recipe) -> PairRow:
    changes = [_change(value) for value in record["values"]]
    words = {value.strip() for value in record["fields"].values() if value.strip()}
    marks = list(_marks(record["piece"], words, changes, _template(recipe)))
    shown = {unescape(mark.text.strip()) for mark in marks if mark.kind == "same"}
    fields = [(name, value, value.strip() in shown) for name, value in record["fields"].items()]
    return PairRow(record["number"], record["line"], record["key"], fields, changes, record["left_out"], marks)


def _change(value: Mapping[str, str]) -> Change:
    before, after, level = value["raw_stock"], value["stock"], value["buffer_level"]
    if level in ("", "None"):
        cause = "blank stock stays blank" if before == "" else "no buffer: passes as it is"
    else:
        cause = f"{level} buffer {value['buffer']}"
    return Change(value["sku"], value["product"], before, after, cause, before != after)


def _marks(piece: str, words: set[str], changes: Sequence[Change], template: str) -> Iterator[Mark]:
    buffered = {change.after: f"{change.before or 'blank'} − {change.cause}" for change in changes if change.changed}
    kept = (
        {change.after for change in changes if not change.changed}
        | {change.sku for change in changes}
        | {change.product for change in changes}
    )
    if not piece:
        return
    splitter = _MARKUP if "<" in piece else _CELLS
    for number, text in enumerate(splitter.split(piece)):
        word = unescape(text.strip())
        if number % 2 or not word:
            yield Mark(text, "markup")
        elif word in buffered:
            yield Mark(text, "buffer", buffered[word])
        elif word in words or word in kept:
            yield Mark(text, "same")
        elif template:
            yield Mark(text, "template", f"by template {template}")
        else:
            yield Mark(text, "same")
