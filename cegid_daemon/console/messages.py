"""One message, from the source file to where the original lies now; one entry's bytes; and what a person decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response

from cegid_daemon.bootstrap import places_of
from cegid_daemon.console import texts
from cegid_daemon.console.ground import Ground, Reading
from cegid_daemon.console.logpages import download
from cegid_daemon.console.visibility import Visibility
from cegid_daemon.console.visit import Visit, back
from cegid_daemon.desk import Desk
from cegid_daemon.errors import NotThere, Refused
from cegid_daemon.journal.log import LogEntry
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.model import CLOSED, State, unescape_name

_DECISIONS = {
    "replay": ("Replay", "The stored file is rewritten with today's template and buffers, and sent again."),
    "release": ("Release", "What is not known to have arrived is sent (again)."),
    "discard": ("Discard", "What is left of the message is never sent."),
}
_LONGEST_REASON = 500
_SAVED = 1 << 20  # bytes of a download that are read at once
_ANSWERS = "SELECT id, at, step FROM attempt WHERE message = ? AND answer IS NOT NULL ORDER BY id"
_ANSWER = """
    SELECT a.at, a.message, a.answer, p.size, m.route FROM attempt a JOIN payload p ON p.id = a.answer
    JOIN message m ON m.id = a.message WHERE a.id = ?
"""


def allowed(state: str) -> list[str]:
    """What may be decided about a message in a state."""
    if state in CLOSED:
        return ["replay"]
    if state in (State.HELD, State.UNSURE):
        return ["release", "discard"]
    return ["discard"] if state == State.WAITING else []


def message(visit: Visit) -> Response:
    """All that is known of a message."""
    number = _number(visit)
    with visit.reading() as reading:
        known = _known(reading, number)
        entries = reading.log.of_message(number)
        answers = reading.connection.query(_ANSWERS, (number,))
    return visit.page(
        "message.html", known=known, answers=answers, entries=entries, decisions=allowed(known["state"]),
        words=_DECISIONS, route=visit.ground.config.routes.get(known["route"]), steps=_steps(known),
    )  # fmt: skip


def _number(visit: Visit) -> int:
    return int(visit.request.path_params["number"])


def _known(reading: Reading, number: int) -> Mapping[str, Any]:
    known = reading.log.message(number)
    if known is None:
        raise NotThere(f"there is no message {number}", remedy="The API Integration Log lists the messages there are.")
    return known


def _steps(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What happened, in order of time."""
    steps = [{"at": known["received_at"], "what": "received", "outcome": "ok", "detail": ""}]
    steps += [
        {"at": one["at"], "what": one["step"], "outcome": one["outcome"], "detail": one["detail"]}
        for one in known["attempts"]
    ]
    steps += [
        {"at": one["delivered_at"], "what": f"delivered part {one['part']}", "outcome": "ok", "detail": one["name"]}
        for one in known["deliveries"] if one["delivered_at"]
    ]  # fmt: skip
    steps += [
        {"at": one["at"], "what": one["what"], "outcome": "person", "detail": f"{one['who']}: {one['reason'] or '–'}"}
        for one in known["decisions"]
    ]  # fmt: skip
    if known["closed_at"]:
        outcome = "ok" if known["state"] == "done" else known["state"]
        steps.append({"at": known["closed_at"], "what": f"closed: {known['state']}", "outcome": outcome, "detail": ""})
    return sorted(steps, key=lambda step: str(step["at"]))


def decide_form(visit: Visit) -> Response:
    """Asks for confirmation and a reason."""
    number, what = _number(visit), _decision(visit)
    with visit.reading() as reading:
        known = _known(reading, number)
        message = reading.ledger.message(number) if what != "discard" else None
        newer = reading.overview.sent_since(message) if message is not None else 0
    if what not in allowed(known["state"]):
        raise Refused(
            f"message {number} is {known['state']}", remedy="Look at the message: what can be done stands there."
        )
    title, effect = _DECISIONS[what]
    return visit.page("decide.html", known=known, what=what, title=title, effect=effect, newer=newer)


def _decision(visit: Visit) -> str:
    what = str(visit.request.path_params["what"])
    if what not in _DECISIONS:
        raise NotThere(f"nothing is called {what!r} here", remedy="Open the message again.")
    return what


def decide(visit: Visit) -> Response:
    """Carries a decision out."""
    number, what = _number(visit), _decision(visit)
    reason = visit.typed("reason").strip()[:_LONGEST_REASON]
    if not reason:
        raise Refused("a reason is needed", why="it is kept with the decision", remedy="Go back and write one.")
    ground = visit.ground
    with visit.reading() as reading:
        route = _known(reading, number)["route"]
    desk = desk_of(ground, visit.who)
    if what == "replay":
        copy = desk.replay(number, reason=reason)
        ground.wake(route)
        return back(visit, f"/message/{copy}", f"Message {number} is sent again as message {copy}.")
    (desk.release if what == "release" else desk.discard)(number, reason=reason)
    ground.wake(route)
    return back(visit, f"/message/{number}", f"Message {number}: {what} recorded.")


def desk_of(ground: Ground, who: str) -> Desk:
    """The operator's desk for whoever asks."""
    config = ground.config
    return Desk(
        ground.journal, config.routes, config.stores, config.recipes, who=who, clock=ground.clock,
        places=places_of(config),
    )  # fmt: skip


# -- entries ----------------------------------------------------------------------------------------------------------


def answer(visit: Visit) -> Response:
    """What a receiver said, as it was kept before anybody read it."""
    with visit.reading() as reading:
        row = reading.connection.one(_ANSWER, (_number(visit),))
        if row is None:
            raise NotThere("there is no such answer", remedy="Open the message again.")
        Visibility.of(visit).refuse_payload(reading, row["message"], row["answer"])
        body = reading.payloads.slice(row["answer"], 0, texts.PAGE)
    text = texts.indented(texts.decoded(body, encoding_of(body[:HEAD])))
    return visit.page("answer.html", row=row, text=text, cut=row["size"] > texts.PAGE)


def entry(visit: Visit) -> Response:
    """An entry's bytes as text, or as a dump, by the page."""
    raw = visit.asked("as") == "bytes"
    length = texts.DUMP if raw else texts.PAGE
    with visit.reading() as reading:
        found = _entry(reading, _number(visit))
        partners = reading.log.of_message(found.message_id)
        known, offset = found.payload is not None, 0
        body, head = b"", b""
        if found.payload is not None:
            Visibility.of(visit).refuse_payload(reading, found.message_id, found.payload)
            offset = min(visit.number("from", 0, 1 << 62), found.size) // length * length
            body = reading.payloads.slice(found.payload, offset, length)
            head = reading.payloads.slice(found.payload, 0, HEAD) if offset else body[:HEAD]
    encoding = encoding_of(head)
    return visit.page(
        "entry.html", entry=found, partners=partners, kept=known, raw=raw, offset=offset, length=length,
        encoding=encoding, lines=list(texts.dump(body, offset)) if raw else [],
        text="" if raw else texts.indented(texts.decoded(body, encoding)),
    )  # fmt: skip


def _entry(reading: Reading, number: int) -> LogEntry:
    found = reading.log.entry(number)
    if found is None:
        raise NotThere(f"there is no entry {number}", why="it was never there, or its days are over",
                       remedy="The API Integration Log lists the entries there are.")  # fmt: skip
    return found


def save(visit: Visit) -> Response:
    """The exact bytes of an entry, as a file."""
    with visit.reading() as reading:
        found = _entry(reading, _number(visit))
        reading.log.payload_of(found)
        if found.payload is not None:
            Visibility.of(visit).refuse_payload(reading, found.message_id, found.payload)
    return download(_bytes(visit.ground, found), unescape_name(found.file_name))


def _bytes(ground: Ground, found: LogEntry) -> Iterator[bytes]:
    """A piece at a time, so that a slow browser keeps no reader from others. Raises Refused once it is pruned."""
    assert found.payload is not None
    for offset in range(0, found.size, _SAVED):
        with ground.readers.lend() as reading:
            piece = reading.payloads.slice(found.payload, offset, _SAVED)
        yield piece
