"""Files of one source that cannot be read: how long they hold up the files behind them, and what overtook them.

A file that cannot be read ends the taking of a look, as a waiting delivery does, or older numbers would go out after
newer ones. It holds up those behind it for `retry.unreadable`; where the line or the whole place fails, for
`retry.give_up`. Then it is passed. When it is read after newer ones of its routes went out, it is held for a person.
What must outlast a restart is kept in the journal (`waiting_files`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cegid_daemon.clock import JUMP, Reading
from cegid_daemon.errors import Barred, CegidDaemonError, EndpointError, Transient, Untrusted
from cegid_daemon.journal.notices import Notices
from cegid_daemon.journal.waiting_files import WaitingFile
from cegid_daemon.model import Identity, Listed, Route, WaitReason, escape_name
from cegid_daemon.trouble import Troubles
from cegid_daemon.waiting import UNREADABLE, WaitingList

log = logging.getLogger(__name__)

_LONG_AGO = datetime.fromtimestamp(0, UTC)


class UnreadableFiles:
    """The files of one source that could not be read, until they are."""

    def __init__(
        self, waiting: WaitingList, notices: Notices, troubles: Troubles, place: str, routes: Sequence[Route]
    ) -> None:
        self._waiting = waiting
        self._notices = notices
        self._troubles = troubles
        self._place = place
        self._retry = routes[0].retry
        self._unreadable = max(route.retry.unreadable for route in routes)
        self._give_up = max(route.retry.give_up for route in routes)
        self._patience: dict[str, timedelta] = {}  # how long each may hold up those behind it
        self._until: dict[str, datetime] = {}  # what each one's notice says of the end of that time
        self._reported: dict[str, str] = {}  # the text of each one's notice
        self._held_up: dict[str, Reading] = {}  # the files behind one that cannot be read, and since when

    def is_known(self, name: str) -> bool:
        """Whether it could not be read before."""
        return self._file(name) is not None

    def _file(self, name: str) -> WaitingFile | None:
        file = self._waiting.files().get(name)
        return file if file is not None and file.reason is WaitReason.UNREADABLE else None

    def begin_look(self, found: Iterable[Listed]) -> None:
        """Forgets the files that are gone, or have become another file under their name."""
        names = [name for name in self._waiting.files() if self.is_known(name)]
        if not names:
            return
        listing = {one.name: one for one in found}
        for name in names:
            file = self._waiting.files()[name]
            if name not in listing or not _is_same(file.identity, listing[name].identity):
                self.forget([name])
                self._waiting.forget([name])

    def note_failure(self, file: Listed, error: EndpointError, now: datetime) -> CegidDaemonError:
        """Notes that a file could not be read now; returns it as it is told, with what becomes of the others."""
        own = not _is_of_place(error)
        self._patience[file.name] = self._unreadable if own else self._give_up
        self._troubles.failed(self._subject(file.name), error, self._retry, now)
        self._waiting.note(
            file, WaitReason.UNREADABLE, str(error), self._held_up.get(file.name, self._waiting.read_clocks(now))
        )
        known = self._waiting.files()[file.name]
        then = self._then(known, now)
        if own or self._waiting.waited(file.name) >= self._unreadable:
            self._report(known, then, now)
        return Transient(error.what, where=error.where, why=error.why, remedy=f"{error.remedy} {then}".lstrip())

    def _then(self, file: WaitingFile, now: datetime) -> str:
        if self.blocks(file.name):
            until = now + self._patience[file.name] - self._waiting.waited(file.name)
            if abs(self._until.get(file.name, _LONG_AGO) - until) > JUMP:  # else it is the same, give or take
                self._until[file.name] = until
            until = self._until[file.name]
            return f"The files behind it wait for it until {until:%Y-%m-%d %H:%M:%S} UTC at most."
        return "The files behind it go on; once it can be read, it is held if newer ones went out before it."

    def _report(self, file: WaitingFile, then: str, now: datetime) -> None:
        subject = self._subject(file.name)
        text = f"{subject} cannot be read: {file.detail} {then}"
        if self._reported.get(file.name) != text:  # else nothing is written: it is looked at every few seconds
            self._reported[file.name] = text
            if self._notices.report(UNREADABLE, subject, text, now):
                log.warning("%s cannot be read. %s", subject, then)

    def blocks(self, name: str) -> bool:
        """Whether the files behind this one must wait for it: as long as time really passes, whatever clocks say."""
        if not self.is_known(name):
            return False
        return timedelta(0) <= self._waiting.waited(name) < self._patience.get(name, self._unreadable)

    def hold_up(self, files: Iterable[Listed], now: datetime) -> None:
        """These files wait behind one that cannot be read, and have had so much of their own time."""
        seen = self._waiting.read_clocks(now)
        self._held_up = {file.name: self._held_up.get(file.name, seen) for file in files}

    def forget(self, names: Collection[str]) -> None:
        """These files were taken, or are gone. Joins the caller's transaction."""
        for name in filter(self.is_known, names):
            self._notices.clear(UNREADABLE, self._subject(name))
            self._troubles.forget(self._subject(name))
            self._patience.pop(name, None)
            self._until.pop(name, None)
            self._reported.pop(name, None)

    def note_success(self, name: str) -> None:
        """A file was read; what becomes of it is not decided yet."""
        self._troubles.worked(self._subject(name))

    def _subject(self, name: str) -> str:
        return f"{self._place}/{escape_name(name)}"


def _is_of_place(error: EndpointError) -> bool:
    """Whether the place or the line fails, and no single file is at fault."""
    return isinstance(error, Barred | Untrusted) or (isinstance(error, Transient) and error.of_place)


def _is_same(one: Identity, other: Identity) -> bool:
    """Whether both are the same file, though perhaps touched or written to since."""
    return one.inode == other.inode if one.inode and other.inode else one.same_file(other)
