"""The error tree. Every error a person meets says what, where, why, and what to do now.

CegidDaemonError
├── ConfigurationError        the configuration or a template of it cannot be used
├── MessageError              one message is at fault; the others go on
│   ├── BadInput              the received file breaks its layout
│   ├── TemplateFault         the template failed on this message
│   ├── BadOutput             what the template made is not fit to leave
│   └── LimitExceeded         the rewriting took too long, or too much memory, or killed its worker
├── EndpointError             a place files are taken from or put into
│   ├── Transient             will very likely heal by itself: try again later
│   │   └── Interrupted       … the line broke before a file was written whole
│   ├── Permanent             trying again will not help: a person repairs
│   ├── Absent                what was asked for is not there
│   ├── Exists                the name is taken and may not be replaced
│   ├── Untrusted             the other side is not who it should be
│   ├── Barred                the other side does not let us in: a person repairs, then it goes on by itself
│   └── Unsure                the answer was lost: it may or may not have happened
│       └── Taken             … the file was written whole, and is not there any more
├── SourceChanged             the file is not, or no longer, what was listed: look again later
├── JournalError              the journal cannot be used
│   ├── JournalDamaged        SQLite finds it broken
│   ├── JournalNewer          a newer cegid-daemon wrote it
│   ├── JournalMissing        a journal was here, and is gone
│   └── JournalUnavailable    full or read-only disk, or locked: wait and try again
├── AlreadyRunning            another daemon holds the state folder
└── Refused                   an operator asked for something that cannot be done
    └── NotThere              … that does not exist, or no longer
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Self

ANYTHING, FIELD_VALUE, NOTHING = "anything", "the value of the field", "nothing"  # what an error quotes of a file


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is wrong; blank and zero fields are unknown. Lines, columns and records count from 1."""

    route: str = ""
    file: str = ""  # the received file, the template, or the configuration file
    line: int = 0
    column: int = 0
    record: int = 0
    field: str = ""  # a field of the record, or a configuration key

    def __str__(self) -> str:
        parts = [
            f"route {self.route}" if self.route else "",
            f"file {self.file!r}" if self.file else "",
            f"line {self.line}" if self.line else "",
            f"column {self.column}" if self.column else "",
            f"record {self.record}" if self.record else "",
            f"field {self.field}" if self.field else "",
        ]
        return ", ".join(part for part in parts if part)


class CegidDaemonError(Exception):
    """Something went wrong, and this is what, where, why and what to do now."""

    def __init__(self, what: str, *, where: Place | None = None, why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where or Place()
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: `what (where): why. remedy`."""
        where = str(self.where)
        text = f"{self.what} ({where})" if where else self.what
        if self.why:
            text += f": {self.why}"
        return f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross from the worker process to the daemon whole."""
        return (_rebuild, (type(self), self.what, self.where, self.why, self.remedy))

    def at(self, **place: Any) -> CegidDaemonError:
        """The same error, with the parts of its place that were still unknown filled in."""
        known = {key: value for key, value in asdict(self.where).items() if value}
        self.where = Place(**{**place, **known})
        return self


def _rebuild(
    kind: type[CegidDaemonError], what: str, where: Place, why: str, remedy: str, *quoting: str
) -> CegidDaemonError:
    error = kind(what, where=where, why=why, remedy=remedy)
    return error.quoting(*quoting) if quoting and isinstance(error, MessageError) else error


class ConfigurationError(CegidDaemonError):
    """The configuration cannot be used; `faults` holds every fault found, one error each."""

    def __init__(self, what: str, *, faults: tuple[CegidDaemonError, ...] = (), where: Place | None = None,
                 why: str = "", remedy: str = "") -> None:  # fmt: skip
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.faults = faults


class MessageError(CegidDaemonError):
    """One message is at fault; the others go on.

    `quotes` says which text of the file may stand in `what` and `why`: `ANYTHING` unless the error knows better, the
    value of the field that `where` names (`FIELD_VALUE`), or `NOTHING`. `unquoted` is `what` without it.
    """

    quotes = ANYTHING
    unquoted = ""
    value: str | None = None  # the value that is quoted, where it is not yet known which field holds it

    def quoting(self, quotes: str, unquoted: str = "") -> Self:
        """The same error, which says what it quotes."""
        self.quotes, self.unquoted = quotes, unquoted
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """With what it quotes: only the daemon knows what may be shown."""
        rebuild, given = super().__reduce__()
        return (rebuild, (*given, self.quotes, self.unquoted))


class BadInput(MessageError):
    """The received file breaks its layout."""


class TemplateFault(MessageError):
    """The template failed on this message."""


class BadOutput(MessageError):
    """What the template made is not fit to leave."""


class LimitExceeded(MessageError):
    """The rewriting took too long, or too much memory, or killed its worker."""

    quotes = NOTHING


class EndpointError(CegidDaemonError):
    """A place files are taken from or put into did not do what was asked."""


class Transient(EndpointError):
    """Will very likely heal by itself: try again later."""

    after: timedelta | None = None  # when the other side, or our own pace, says when
    of_place = False  # the place or the line is at fault, not the one file that was asked for

    def not_before(self, pause: timedelta) -> Transient:
        """The same error, to be tried again after this pause instead of the route's own."""
        self.after = pause
        return self

    def by_place(self) -> Transient:
        """The same error, of the place or the line: no single file is at fault."""
        self.of_place = True
        return self


class Interrupted(Transient):
    """The line broke before a file was written whole: a part of it may be there."""


class Permanent(EndpointError):
    """Trying again will not help: a person has to repair something."""


class Absent(EndpointError):
    """What was asked for is not there."""


class Exists(EndpointError):
    """The name is taken and may not be replaced."""


class Untrusted(EndpointError):
    """The other side is not who it should be (host key, certificate)."""


class Barred(EndpointError):
    """The other side does not let us in: a person repairs login or server, then it goes on by itself."""


class Unsure(EndpointError):
    """The answer was lost: it may or may not have happened."""


class Taken(Unsure):
    """The server said that it has the whole file, and the file is not there any more: somebody took it at once."""


class SourceChanged(CegidDaemonError):
    """The file is not, or no longer, what was listed: look again later."""


class JournalError(CegidDaemonError):
    """The journal cannot be used."""


class JournalDamaged(JournalError):
    """SQLite finds the journal broken."""


class JournalLogLost(JournalError):
    """The write-ahead log of a running daemon was removed: the journal is whole, and others cannot read it now."""


class JournalNewer(JournalError):
    """A newer cegid-daemon wrote this journal."""


class JournalMissing(JournalError):
    """A journal was kept here, and its file is gone."""


class JournalUnavailable(JournalError):
    """The journal cannot be read or written now (full or read-only disk, locked): wait and try again."""


class AlreadyRunning(CegidDaemonError):
    """Another daemon holds the state folder."""


class Refused(CegidDaemonError):
    """An operator asked for something that cannot be done."""


class BadValue(Refused):
    """What an operator gave is no value for what it was given for."""


class NotThere(Refused):
    """An operator asked for something that does not exist, or no longer."""
