"""The files of one source that were seen and cannot be taken yet, and what follows for those that are taken late.

Owns when such a file is written down, reported and forgotten, and the rule that one which newer files of its route have
overtaken meanwhile is held for a person. Says nothing about whether a file is whole or readable: its callers do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta

from cegid_daemon.clock import BootClock, Reading
from cegid_daemon.errors import Place, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.journal.sources import Taking
from cegid_daemon.journal.waiting_files import WaitingFile
from cegid_daemon.model import Fault, Listed, WaitReason, location

log = logging.getLogger(__name__)

LONG_OPEN = timedelta(minutes=10)  # a file that is open for longer is reported
_NOTICE = "open file"
UNREADABLE = "unreadable"  # the kind of the notices of files that cannot be read
_CAN_BE_LATE = frozenset({WaitReason.EMPTY, WaitReason.UNREADABLE, WaitReason.OPEN})


class WaitingList:
    """The waiting files of one source; a cache of what the journal keeps of them."""

    def __init__(
        self, journal: Journal, place: str, folder: str, routes: Sequence[str], accepts: Callable[[str], bool],
        boot_clock: BootClock,
    ) -> None:  # fmt: skip
        """`accepts` tells the names of this source from those of others that share its folder."""
        self._journal = journal
        self._place = place
        self._folder = folder
        self._routes = tuple(routes)
        self._accepts = accepts
        self._boot_clock = boot_clock
        self._known: dict[str, WaitingFile] | None = None
        self._reported: set[str] = set()  # names of files that have been open for long

    def files(self) -> Mapping[str, WaitingFile]:
        """Every file of the source that waits, by name."""
        return self._load()

    def read_clocks(self, now: datetime) -> Reading:
        """Both clocks at this moment."""
        return Reading(now, self._boot_clock())

    def waited(self, name: str) -> timedelta:
        """For how long a file has waited, whatever the wall clock did; from the start of the machine at most."""
        return timedelta(seconds=self._boot_clock().seconds - self._load()[name].waits_since.seconds)

    def note(self, file: Listed, reason: WaitReason, detail: str, seen: Reading) -> None:
        """Writes down that a file waits since then. Joins the caller's transaction: thousands may come at once."""
        if self.is_noted(file, reason, detail):
            return
        self._load()[file.name] = self._journal.waiting_files.see(
            self._place, self._folder, file.name, file.identity, reason, detail, seen.wall, seen.boot
        )

    def is_noted(self, file: Listed, reason: WaitReason, detail: str) -> bool:
        """Whether it is written down that this file waits for this reason."""
        known = self._load().get(file.name)
        return known is not None and self._says(known, reason, detail) and known.identity.same_file(file.identity)

    def note_all(self, files: Sequence[tuple[Listed, WaitReason, str]], now: datetime) -> None:
        """Writes down that these files wait, each with its reason and detail, and logs what is new of them."""
        before = {file.name: self._load().get(file.name) for file, _, _ in files}
        news = [one for one in files if not self.is_noted(*one)]
        seen = self.read_clocks(now)
        try:
            with self._journal.connection.transaction() if news else nullcontext():
                for file, reason, detail in news:
                    self.note(file, reason, detail, seen)
        except BaseException:
            self.reload()
            raise
        for file, reason, detail in files:
            known = before[file.name]
            if known is None or not self._says(known, reason, detail):
                log.warning("%s: %s: %s", self._location(file.name), reason, detail)
            elif reason is WaitReason.OPEN:
                self._report_long_open(file.name, now)

    @staticmethod
    def _says(known: WaitingFile, reason: WaitReason, detail: str) -> bool:
        return known.reason is reason and known.detail == detail

    def _report_long_open(self, name: str, now: datetime) -> None:
        if self.waited(name) < LONG_OPEN or name in self._reported:
            return
        since = min(self._load()[name].first_seen, now)
        self._reported.add(name)
        text = (
            f"{self._location(name)} is still open for writing, first seen at {since:%Y-%m-%d %H:%M:%S} UTC. End the "
            "program that holds it open, or set settle_open = false in its source to take it as it is."
        )
        if self._journal.notices.report(_NOTICE, self._location(name), text, now):
            log.warning("%s", text)

    def forget(self, names: Iterable[str]) -> None:
        """These files wait no longer: they were taken, or are gone. Joins the caller's transaction."""
        gone = [name for name in names if name in self._load()]
        self._journal.waiting_files.forget(self._place, self._folder, gone)
        for name in gone:
            self._journal.notices.clear(_NOTICE, self._location(name))
            self._reported.discard(name)
            del self._load()[name]

    def forget_missing(self, listed: Collection[str]) -> None:
        """Files that are not listed any more wait no longer."""
        if gone := self._load().keys() - set(listed):
            with self._journal.connection.transaction():
                self.forget(gone)

    def overtake(self, names: Collection[str]) -> None:
        """A file behind these is claimed next. Joins the caller's transaction."""
        for name in names:
            file = self._load().get(name)
            if file is not None and not file.overtaken:
                self._load()[name] = self._journal.waiting_files.overtake(self._place, self._folder, name)

    def judge(self, taking: Taking, now: datetime) -> Taking:
        """The same, to be held for a person where it comes late. A file that stayed empty says nothing that is old."""
        hold = self.hold_for(taking.name, now) if taking.identity.size else None
        if hold is None:
            return taking
        return replace(taking, hold=hold, after_message=self.files()[taking.name].after_message)

    def tell_held(self, messages: Sequence[int], taking: Taking) -> None:
        """Logs that messages were claimed to be held; `once` tells it as a fault of its outcome."""
        if taking.hold is not None:
            log.warning("message %s is held for a person: %s", ", ".join(map(str, messages)), taking.hold)

    def reload(self) -> None:
        """What the caller wrote down was rolled back: the journal is asked anew."""
        self._known = None

    def error(self, name: str, now: datetime) -> Transient:
        """What is reported of a waiting file."""
        file = self._load()[name]
        return Transient(
            f"the file is {file.reason} and not taken yet",
            where=Place(file=self._location(name)),
            why=f"since {min(file.first_seen, now):%Y-%m-%d %H:%M:%S} UTC",
            remedy=file.detail,
        )

    def hold_for(self, name: str, now: datetime) -> Fault | None:
        """Why the messages of a file that is taken now are held for a person; None if they need not be."""
        file = self._load().get(name)
        if file is None or file.reason not in _CAN_BE_LATE:
            return None
        if file.reason is WaitReason.UNREADABLE and not file.overtaken:  # while it held up the others, none came first
            return None
        newer = self._journal.ledger.delivered_after(self._routes, file.after_message)
        if not newer:
            return None
        return Fault(
            "Late",
            f"the file was {file.reason} when it came, and newer files have gone out since",
            self._location(name),
            f"first seen at {min(file.first_seen, now):%Y-%m-%d %H:%M:%S} UTC; {newer} newer message(s) of "
            f"{', '.join(self._routes)} went out before it could be taken, and what it says may be older than they are",
            "Look at it: `cegid-daemon release ID` sends it all the same, `cegid-daemon discard ID` closes it.",
        )

    def _location(self, name: str) -> str:
        return location(self._place, self._folder, name)

    def _load(self) -> dict[str, WaitingFile]:
        if self._known is None:
            found = self._journal.waiting_files.of_folder(self._place, self._folder)
            self._known = {name: file for name, file in found.items() if self._accepts(name)}
            self._count_anew()
        return self._known

    def _count_anew(self) -> None:
        """The time that files waited before the machine was started is not known: no clock can be believed for it."""
        assert self._known is not None
        now = self._boot_clock()
        old = [name for name, file in self._known.items() if file.waits_since.boot != now.boot]
        if old:
            self._journal.waiting_files.restart(self._place, self._folder, old, now)
        self._known.update({name: replace(self._known[name], waits_since=now) for name in old})


def forget_elsewhere(journal: Journal, folders: Collection[tuple[str, str]]) -> None:
    """Forgets the files that waited in places and folders nothing is taken from any more, and what was said of them."""
    for file in journal.waiting_files.all():
        if (file.place, file.folder) not in folders:
            where = location(file.place, file.folder, file.name)
            log.info("%s: no route takes files from this folder any more", where)
            journal.waiting_files.forget(file.place, file.folder, [file.name])
            for kind in (_NOTICE, UNREADABLE):
                journal.notices.clear(kind, where)
