"""What is wrong with the listings of one source: lines nobody understands, names that are shown and then denied.

Owns when such a thing is a fault, that it is told once (log, notice, `once`), and that a denied name is tried again
with growing pauses instead of at every look. A file that is taken away between listing and reading is neither.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from cegid_daemon.endpoints.listing import unread_lines
from cegid_daemon.errors import Absent, CegidDaemonError, EndpointError, Place, Transient
from cegid_daemon.journal import Journal
from cegid_daemon.model import Identity, Listed, RetryPolicy, escape_name
from cegid_daemon.trouble import Troubles

log = logging.getLogger(__name__)

UNREAD = "unread listing line"
DENIED = "denied name"
_MAX_SHOWN = 3  # lines told in full
_MAX_NAMED = 10  # links, pipes and folders reported one by one
_MAX_ABSENT = 2  # times in a row that a name is listed unchanged and then is not there: no coincidence any more
_MAX_CHANGED = 3  # the same, where the file is said to be another one than was listed


def clear_other_places(journal: Journal, places: Collection[str]) -> None:
    """What was told of folders that nobody looks at any more holds no longer."""
    for notice in journal.notices.active():
        of = {UNREAD: notice.subject, DENIED: notice.subject.rpartition("/")[0]}.get(notice.kind)
        if of is not None and of not in places:
            journal.notices.clear(notice.kind, notice.subject)


class ListingFaults:
    """What is wrong with the listings of one folder."""

    def __init__(self, journal: Journal, troubles: Troubles, place: str, policy: RetryPolicy) -> None:
        self._journal = journal
        self._troubles = troubles
        self._place = place
        self._policy = policy
        self._text: str | None = None  # of the lines told last; None: not looked yet
        self._denials: dict[str, tuple[Identity, int]] = {}
        self._reported: set[str] = set()  # names of which it is told that they are denied

    def examine(self, listing: Sequence[Listed], now: datetime) -> list[EndpointError]:
        """What a listing says of itself; each thing is logged once."""
        if self._text is None:
            self._recall()
        self.forget(self._denials.keys() - {one.name for one in listing})
        lines = unread_lines(listing)
        errors = [self._unread(line) for line in lines[:_MAX_SHOWN]]
        if len(lines) > _MAX_SHOWN:
            errors.append(self._unread(f"… and {len(lines) - _MAX_SHOWN} more"))
        self._tell_lines(lines, now)
        return errors

    def report_irregular(self, entries: Sequence[Listed]) -> None:
        """Says of links, pipes and folders whose names match that they are not taken; of many in one line."""
        if len(entries) <= _MAX_NAMED:
            for entry in entries:
                name = self._subject(entry.name)
                log.warning("Ignoring %s: not a regular file (link, pipe or folder)", name)
            return
        names = ", ".join(escape_name(entry.name) for entry in entries[:_MAX_SHOWN])
        log.warning(
            "Ignoring %d matching entries of %s: not regular files (links, pipes or folders): %s, …",
            len(entries), self._place, names,
        )  # fmt: skip

    def is_resting(self, name: str, now: datetime) -> bool:
        """Whether a denied name is not to be tried again yet."""
        return name in self._reported and not self._troubles.due(self._subject(name), now)

    def note_denial(self, file: Listed, error: CegidDaemonError, now: datetime) -> EndpointError | None:
        """A listed file was not there, or not as it was listed. What is to be told of it; None if it may be chance."""
        known, times = self._denials.get(file.name, (file.identity, 0))
        times = times + 1 if known == file.identity else 1
        self._denials[file.name] = (file.identity, times)
        if times < (_MAX_ABSENT if isinstance(error, Absent) else _MAX_CHANGED):
            return None
        told = self._denied(file.name, error)
        self._reported.add(file.name)
        self._troubles.failed(self._subject(file.name), told, self._policy, now)
        self._journal.notices.report(DENIED, self._subject(file.name), str(told), now)
        return told

    def forget(self, names: Iterable[str]) -> None:
        """These names were read, or are listed no more."""
        for name in [one for one in names if one in self._denials]:
            del self._denials[name]
            if name in self._reported:
                self._reported.discard(name)
                self._troubles.forget(self._subject(name))
                self._journal.notices.clear(DENIED, self._subject(name))

    def _recall(self) -> None:
        """What an earlier process told is told anew if it still holds."""
        prefix = f"{self._place}/"
        for notice in self._journal.notices.active():
            if notice.kind == DENIED and notice.subject.startswith(prefix) and "/" not in notice.subject[len(prefix) :]:
                self._journal.notices.clear(DENIED, notice.subject)

    def _tell_lines(self, lines: Collection[str], now: datetime) -> None:
        text = "; ".join(map(repr, lines))[:2000]
        if text == self._text:
            return
        if text:
            error = self._unread(text)
            self._journal.notices.report(UNREAD, self._place, str(error), now)
            log.warning("%s: %s", self._place, error)
        elif self._journal.notices.clear(UNREAD, self._place) and self._text:
            log.warning("%s: every line of the listing is understood again", self._place)
        self._text = text

    def _unread(self, line: str) -> EndpointError:
        shown = line if line.startswith(("'", '"', "…")) else repr(line)
        return Transient(
            f"a line of the listing is not understood: {shown}",
            where=Place(file=self._place),
            why="it may be a file, and is not taken",
            remedy="Have the server list in the way of `ls -l` or offer MLSD (docs/endpoints.md names what is read), "
            "and report the line.",
        )

    def _denied(self, name: str, error: CegidDaemonError) -> EndpointError:
        if isinstance(error, Absent):
            what = f"the server lists {name!r} and then says that it is not there"
        else:
            what = f"the server lists {name!r} as another file than it then gives"
        return Transient(
            what,
            where=Place(file=self._place),
            why=error.why or error.what,
            remedy="Compare the name with the server's own view: blanks or a year before it, or an `encoding` that is "
            "not the server's, may be read wrongly. It is tried again by itself.",
        )

    def _subject(self, name: str) -> str:
        return f"{self._place}/{escape_name(name)}"
