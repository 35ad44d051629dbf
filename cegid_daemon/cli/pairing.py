"""`log diff` by record: each record of a message as it came and what was made of it, with the cause of every change.

The same account as the console's pair, in a worker under limits: a message of any size, a few records at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cegid_daemon.cli.comparing import no_message
from cegid_daemon.cli.output import note, print_json, say
from cegid_daemon.errors import Refused

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.console.accounts import Account
    from cegid_daemon.console.marking import PairRow
    from cegid_daemon.journal import Journal

_COLUMN = 24  # characters of a field's name


def account_of(journal: Journal, config: Config, number: int, *, first: int, count: int, key: str) -> Account:
    """Some records of a message. Raises Refused, Transient."""
    from cegid_daemon.console.accounts import account, made_with
    from cegid_daemon.console.pairing import Tracer

    message = journal.ledger.message(number)
    if message is None:
        raise no_message(number)
    made = made_with(message, config, journal.recipes, journal.book, journal.log)
    tracer = Tracer(journal.connection.path, config.state / "spool" / f"pair-{os.getpid()}")
    try:
        found = account(tracer, message, made, first=first, count=count, key=key)
    finally:
        tracer.stop()
    if not made.then:
        note("It was not rewritten yet: this is what today's template and buffers make of it.")
    if key and not found.rows and not found.fault:
        raise Refused(f"no record of message {message.id} bears {key!r}",
                      remedy="A value is found whole, as it stands in a field.")  # fmt: skip
    return found


def show_account(found: Account) -> None:
    """Prints the records for a person."""
    for row, piece in zip(found.rows, found.pieces, strict=True):
        for line in _lines(row, piece):
            say(line)
    if found.fault:
        note(found.fault)


def print_account_json(found: Account) -> None:
    """Prints the records as data."""
    print_json([_json(row, piece) for row, piece in zip(found.rows, found.pieces, strict=True)])
    if found.fault:
        note(found.fault)


def _json(row: PairRow, piece: str) -> dict[str, Any]:
    return {
        "record": row.number, "line": row.line, "key": row.key,
        "fields": {name: text for name, text, _ in _fields(row)}, "blank_fields": row.blank,
        "changes": [asdict(change) for change in row.changes], "left_out": row.left_out, "rejected": row.rejected,
        "modified": piece,
    }  # fmt: skip


def _fields(row: PairRow) -> Iterator[tuple[str, str, bool]]:
    for group in row.groups:
        for value in group.values:
            yield "/".join(filter(None, (group.path, value.name))), value.text, value.told


def _lines(row: PairRow, piece: str) -> Iterator[str]:
    line = f", line {row.line}" if row.line else ""
    yield f"record {row.number}{line}: {row.key}"
    for change in row.changes:
        about = f"{change.sku or change.product}: " if len(row.changes) > 1 else ""
        after = f" -> {change.after or 'blank'}" if change.changed else ""
        yield f"  {about}{change.before or 'blank'}{after}  {change.cause}"
    yield from _why(row)
    yield from (f"  - {name:<{_COLUMN}} {text}" for name, text, _ in _fields(row))
    yield from (f"  + {text}" for text in _texts(piece))
    yield ""


def _why(row: PairRow) -> Iterator[str]:
    if row.left_out:
        yield f"  left out: {row.left_out}"
    if row.rejected:
        yield f"  rejected: {row.rejected}"


def _texts(piece: str) -> Sequence[str]:
    return [text for text in piece.splitlines() if text.strip()]
