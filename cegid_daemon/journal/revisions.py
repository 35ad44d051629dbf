"""Revisions: the clock of the buffer book. An edit, or a whole import, is one; what applies at a past one can be read.

Owns the table `revision` and the words of the book: levels, changes, the trimming of keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.model import utc_text

LEVELS = ("variation", "product", "store")
LATEST = 1 << 62  # a revision that no journal reaches
_BLANKS = " \t\r\n\u00a0"


@dataclass(frozen=True, slots=True)
class Author:
    """Who made a revision, by what means, and when."""

    who: str
    origin: str  # a command, the console, or the file that was imported
    now: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one value; a blank value unset it."""

    revision: int
    at: str  # utc_text
    who: str
    origin: str
    value: str


class Revisions:
    """The numbers under which the book was changed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, author: Author) -> int:
        """A new revision, in the caller's transaction."""
        made = self._connection.execute(
            "INSERT INTO revision (at, who, origin) VALUES (?, ?, ?)",
            (utc_text(author.now), author.who, author.origin),
        ).lastrowid
        assert made is not None
        return made

    def take_back(self, revision: int) -> None:
        """Nothing was changed under it after all; only within the transaction that began it."""
        self._connection.execute("DELETE FROM revision WHERE id = ?", (revision,))

    def current(self) -> int:
        """The newest revision; 0 before the first."""
        row = self._connection.one("SELECT max(id) FROM revision")
        return int(row[0] or 0) if row else 0

    def as_of(self, moment: datetime) -> int:
        """The revision that applied at `moment`; 0 before the first."""
        row = self._connection.one(
            "SELECT id FROM revision WHERE at <= ? ORDER BY id DESC LIMIT 1", (utc_text(moment),)
        )
        return int(row[0]) if row else 0


def trimmed(key: str) -> str:
    """A key as the book keeps it: without the blanks around it (space, tab, no-break space, line ends)."""
    return key.strip(_BLANKS)


def or_blank(value: str) -> str:
    """A value as typed, but blank text of whatever length as the one blank."""
    return value if trimmed(value) else ""
