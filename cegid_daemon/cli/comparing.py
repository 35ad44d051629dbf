"""The texts behind a pair of log entries, compared line by line.

Owns how bytes are read as text for a person: UTF-8, UTF-16 with a BOM or by its NULs, else cp1252; XML on one line is
broken between elements. Large contents are refused rather than compared for hours.
"""

from __future__ import annotations

import codecs
import difflib
from typing import TYPE_CHECKING

from cegid_daemon.errors import Refused

if TYPE_CHECKING:
    from cegid_daemon.journal import Journal
    from cegid_daemon.journal.log import LogEntry

MOST = 2 << 20  # bytes compared of each
_LONG = 500  # characters: XML whose lines are longer on average is broken between elements


def difference(journal: Journal, before: LogEntry, after: LogEntry) -> list[str]:
    """A unified diff of two entries. Raises Refused if they are too large or no longer kept."""
    for entry in (before, after):
        if entry.size > MOST:
            raise Refused(
                f"entry {entry.id} has {entry.size} bytes, too many to compare here",
                remedy=f"Compare it by record: cegid-daemon log diff {before.message_id} --key KEY, or --record 1. Or "
                f"save both: cegid-daemon log save {before.id} -o A; cegid-daemon log save {after.id} -o B.",
            )
    old, new = (lines_of(b"".join(journal.log.payload_of(entry))) for entry in (before, after))
    old_name, new_name = (f"{entry.variant}: {entry.name} ({entry.file_name})" for entry in (before, after))
    return list(difflib.unified_diff(old, new, old_name, new_name, lineterm=""))


def compared_texts(journal: Journal, message: int) -> list[tuple[LogEntry, list[str]]]:
    """Each Modified entry of a message with its difference from the Unmodified one. Raises Refused."""
    entries = journal.log.of_message(message)
    if not entries and journal.log.message(message) is None:
        raise no_message(message)
    raw = [entry for entry in entries if entry.variant == "Unmodified"]
    pairs = [(raw[0], entry) for entry in entries if entry.variant == "Modified"] if raw else []
    return [(entry, difference(journal, one, entry)) for one, entry in pairs]


def no_message(message: int) -> Refused:
    """The error of a message that is not there."""
    return Refused(f"there is no message {message}", remedy="`cegid-daemon log list` shows the ids of messages.")


def lines_of(body: bytes) -> list[str]:
    """The lines of a text, whatever its encoding and line ends."""
    text = text_of(body)
    if text.lstrip().startswith("<") and len(text) > _LONG * (text.count("\n") + 1):
        text = text.replace("><", ">\n<")
    return text.splitlines()


def text_of(body: bytes) -> str:
    """Bytes as text: never fails."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    for encoding, nul in (("utf-16-le", slice(1, 200, 2)), ("utf-16-be", slice(0, 200, 2))):
        column = body[nul]
        if column and column.count(0) > len(column) // 2:
            return body.decode(encoding, "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("cp1252", "replace")
