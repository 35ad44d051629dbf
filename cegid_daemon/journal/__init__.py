"""The journal: the daemon's only memory, one SQLite file with a room for each of its uses.

Importing this package loads no room, so that worker processes can use `reader` and `book_reader` alone and stay small.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cegid_daemon.journal.answers import Answers
    from cegid_daemon.journal.book import BufferBook
    from cegid_daemon.journal.cards import Cards
    from cegid_daemon.journal.claims import Claims
    from cegid_daemon.journal.connection import Connection
    from cegid_daemon.journal.continuity import Continuity
    from cegid_daemon.journal.ledger import Ledger
    from cegid_daemon.journal.log import LogBook
    from cegid_daemon.journal.masking import Masking
    from cegid_daemon.journal.moments import Moments
    from cegid_daemon.journal.moves import RouteMoves
    from cegid_daemon.journal.notices import Notices
    from cegid_daemon.journal.outgoing import Outgoing
    from cegid_daemon.journal.payloads import Payloads
    from cegid_daemon.journal.places import Places
    from cegid_daemon.journal.polls import Polls
    from cegid_daemon.journal.recipes import Recipes
    from cegid_daemon.journal.retention import Retention
    from cegid_daemon.journal.search import Search
    from cegid_daemon.journal.sources import Sources
    from cegid_daemon.journal.waiting_files import WaitingFiles


@dataclass(frozen=True, slots=True)
class Journal:
    """The rooms of an open journal; they share one connection, and so each other's transactions."""

    connection: Connection
    payloads: Payloads
    book: BufferBook
    log: LogBook
    search: Search
    retention: Retention
    ledger: Ledger
    claims: Claims
    continuity: Continuity
    sources: Sources
    recipes: Recipes
    moments: Moments
    places: Places
    polls: Polls
    outgoing: Outgoing
    masking: Masking
    answers: Answers
    cards: Cards
    waiting_files: WaitingFiles
    notices: Notices
    moves: RouteMoves

    @classmethod
    def open(cls, path: Path, *, readonly: bool = False, checkpoints: bool = True) -> Journal:
        """Opens the journal at `path`, makes one where none ever was, and brings its tables up to date.

        `checkpoints=False` for a command beside the daemon. Raises JournalMissing, JournalDamaged, JournalNewer,
        JournalUnavailable.
        """
        from cegid_daemon.journal.connection import Connection

        connection = Connection(path, readonly, checkpoints=checkpoints)
        try:
            return cls._around(connection)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def _around(cls, connection: Connection) -> Journal:
        from cegid_daemon.journal.answers import Answers
        from cegid_daemon.journal.book import BufferBook
        from cegid_daemon.journal.cards import Cards
        from cegid_daemon.journal.claims import Claims
        from cegid_daemon.journal.continuity import Continuity
        from cegid_daemon.journal.ledger import Ledger
        from cegid_daemon.journal.log import LogBook
        from cegid_daemon.journal.masking import Masking
        from cegid_daemon.journal.moments import Moments
        from cegid_daemon.journal.moves import RouteMoves
        from cegid_daemon.journal.notices import Notices
        from cegid_daemon.journal.outgoing import Outgoing
        from cegid_daemon.journal.payloads import Payloads
        from cegid_daemon.journal.places import Places
        from cegid_daemon.journal.polls import Polls
        from cegid_daemon.journal.recipes import Recipes
        from cegid_daemon.journal.retention import Retention
        from cegid_daemon.journal.search import Search
        from cegid_daemon.journal.sources import Sources
        from cegid_daemon.journal.waiting_files import WaitingFiles

        payloads = Payloads(connection)
        search = Search(connection, payloads)
        ledger = Ledger(connection, payloads)
        return cls(
            connection=connection,
            payloads=payloads,
            book=BufferBook(connection),
            log=LogBook(connection, payloads),
            search=search,
            retention=Retention(connection, payloads, search),
            ledger=ledger,
            claims=Claims(connection, payloads, ledger),
            continuity=Continuity(connection, ledger),
            sources=Sources(connection),
            recipes=Recipes(connection),
            moments=Moments(connection),
            places=Places(connection),
            polls=Polls(connection),
            outgoing=Outgoing(connection, payloads),
            masking=Masking(connection, payloads),
            answers=Answers(connection, payloads),
            cards=Cards(connection),
            waiting_files=WaitingFiles(connection),
            notices=Notices(connection),
            moves=RouteMoves(connection),
        )

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file as far as readers allow."""
        self.connection.checkpoint()

    def close(self) -> None:
        """Closes the file; nothing of the journal may be used afterwards."""
        self.connection.close()
