"""The nouns of the trade, frozen.

Owns the words every room shares: stores, routes, listings, messages, deliveries. Knows no file, clock,
database or network. Times are aware datetimes in UTC; names are `str` as `os.fsdecode` makes them (bytes that are no
UTF-8 as surrogates).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from cegid_daemon.errors import CegidDaemonError

INTEGRATION = "CEGID"

DELIVERY_NAMES = {  # how the log names the way out, by the scheme of the place
    "file": "Folder Delivery",
    "memory": "Folder Delivery",
    "ftp": "FTP Delivery",
    "ftps": "FTP Delivery",
    "ftps+implicit": "FTP Delivery",
    "sftp": "SFTP Delivery",
    "https": "API Delivery",
    "http": "API Delivery",
}


class Direction(StrEnum):
    """Which way a route carries: `import` from CEGID to the store, `export` from the store to CEGID."""

    IMPORT = "import"
    EXPORT = "export"


class State(StrEnum):
    """Where a message stands (product.md, Message states)."""

    RECEIVED = "received"
    REWRITTEN = "rewritten"
    DELIVERED = "delivered"
    DONE = "done"
    WAITING = "waiting"
    HELD = "held"
    FAILED = "failed"
    UNSURE = "unsure"
    DISCARDED = "discarded"


LONGEST_RETRY_AFTER = timedelta(hours=6)  # whatever a server asks for

CLOSED = frozenset({State.DONE, State.FAILED, State.DISCARDED})


class SourceState(StrEnum):
    """What became of the file a message was made from."""

    LYING = "lying"  # where the sender put it
    FILING = "filing"  # its new name is stored, the rename may or may not have happened
    FILED = "filed"  # under its new name (or deleted, where the route says so)
    LEFT = "left"  # stays by configuration, remembered by identity
    GONE = "gone"  # somebody else took it away or replaced it


class WaitReason(StrEnum):
    """Why a file that was seen in a source is not taken yet."""

    EMPTY = "empty"
    UNREADABLE = "unreadable"
    OPEN = "open for writing"


class DeliveryState(StrEnum):
    """Where one part stands on its way to one endpoint (architecture.md, the crash table)."""

    DUE = "due"
    SENDING = "sending"
    UPLOADED = "uploaded"
    DELIVERED = "delivered"
    UNSURE = "unsure"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class RefusalExtent(StrEnum):
    """How much of what arrived the receiver refused to take over: API answers, reports, CEGID's rejects folder."""

    NONE = ""
    PART = "partly refused"
    WHOLE = "refused"


OUTCOMES = ("ok", "partly refused", "refused", "failed", "waiting", "held", "unsure")  # of entries of the log


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one file under a name from the next one under the same name. 0 = the endpoint cannot say."""

    size: int
    mtime_ns: int = 0
    inode: int = 0
    ctime_ns: int = 0

    def same_file(self, other: Identity) -> bool:
        """Whether both can be the same content at rest. ctime changes by a rename and is therefore left out."""
        return (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of an endpoint's listing."""

    name: str
    identity: Identity
    regular: bool = True  # False: symlink, FIFO, socket, device, directory; never opened


@dataclass(frozen=True, slots=True)
class Store:
    """An Aurora store and the first values of its CEGID integration settings."""

    name: str
    stock_buffer: int | None = None
    log_requests: bool = True
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A place files are taken from or put into, as configured. `options` holds what only its adapter understands."""

    name: str
    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """`file`, `sftp`, `ftp`, `ftps`, `ftps+implicit`, `https` …"""
        return self.url.partition(":")[0]


@dataclass(frozen=True, slots=True)
class SiteUser:
    """Who may log in to our own drop site, and the folder that is all they see."""

    name: str
    folder: str  # absolute
    password: Any = field(default=None, repr=False)  # a secret whose text is a hash (`passwords`); None: none
    keys: tuple[str, ...] = ()  # lines as authorized_keys has them (SFTP)


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """A drop site of our own, as configured."""

    kind: str  # "ftp" or "sftp"
    host: str
    port: int  # 0: any free one
    users: tuple[SiteUser, ...]
    certificate: str = ""  # FTP: PEM file with the chain; blank: plain FTP
    key: str = ""  # FTP: PEM file with its key; blank: in the certificate's file
    host_key: str = ""  # SFTP: file with the private host key
    passive_ports: tuple[int, int] | None = None  # FTP: first and last
    public_address: str = ""  # FTP: the address data connections are asked to
    max_size: int = 0  # bytes of a file; 0 = no bound
    connections: int = 30  # clients that are logged in at the same time
    connections_per_address: int = 0  # of these, from one address; 0 = all
    login: timedelta = timedelta(seconds=20)  # time from the connection to the login
    tls_session_reuse: bool = False  # FTP: data connections go on with the TLS session of their control connection
    attempts: int = 5  # failed logins of an address before it is kept out
    lockout: timedelta = timedelta(minutes=10)
    idle: timedelta = timedelta(minutes=5)
    grace: timedelta = timedelta(milliseconds=500)  # plain FTP: how long the answer to an upload is withheld


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where a route takes its files from, and when one counts as whole."""

    endpoint: str
    folder: str = ""
    match: tuple[str, ...] = ("*",)
    ignore: tuple[str, ...] = ()
    settle: timedelta = timedelta(seconds=1)
    settle_empty: timedelta = timedelta(minutes=10)  # the same for a file without bytes
    settle_open: bool = True  # a file that is known to be open for writing is not whole
    marker: str = ""
    poll: timedelta = timedelta(seconds=30)
    order: str = "name"  # or "oldest"
    after: str = "archive"  # or "delete", "leave"
    leave_changed: str = "content"  # or "any": when a file that was left is taken again
    archive: str = ""  # blank: processed/YYYY-MM-DD
    max_size: int = 0  # bytes; 0 = no bound
    unique: str = ""  # a layout expression: the key that is delivered once
    request: str = ""  # an API is asked with this template, instead of files being taken
    overlap: timedelta = timedelta(minutes=15)  # how far a request reaches back behind the last complete poll
    reach: timedelta = timedelta(days=1)  # how far the first request reaches back
    limit: int = 100  # records asked for in one page
    owner_mark: bool | None = None  # whether the folder is marked as ours; None: where it is on this machine


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Where a route delivers to, and under which name."""

    endpoint: str
    folder: str = ""
    name: str = "{{ source.name }}"
    exists: str = "replace"  # or "version", "fail"
    temporary: str = ".{id}.part"  # the name until it is renamed (`temporary.TemporaryPattern`); "none": has none
    method: str = ""  # for the Aurora API
    report: str = "aurora/report-get.xml.j2"  # the template that asks for deferred answers


@dataclass(frozen=True, slots=True)
class RejectsSpec:
    """Where CEGID puts the files it could not take, and the log files beside them."""

    endpoint: str
    folder: str
    match: tuple[str, ...] = ("*",)
    log: tuple[str, ...] = ("*.log", "*.LOG")
    settle: timedelta = timedelta(seconds=5)
    poll: timedelta = timedelta(seconds=60)
    after: str = "leave"  # or "archive", "delete"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a message that had to wait is tried again: doubling from `first` to `longest`, failed after `give_up`.

    `unreadable`: how long a file that cannot be read blocks those behind it.
    """

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(minutes=15)
    give_up: timedelta = timedelta(hours=24)
    unreadable: timedelta = timedelta(minutes=15)

    def pause(self, tries: int) -> timedelta:
        """How long to wait after the `tries`-th failed try (from 1)."""
        doublings: int = 2 ** min(tries - 1, 30)
        return min(self.longest, self.first * doublings)

    def has_tried_enough(self, tries: int, asked: timedelta = timedelta(0)) -> bool:
        """Whether so many tries may be the last: their pauses fill half of `give_up`, or longer ones asked for do.

        Time alone does not end a message: a clock may have jumped, or the machine may have been off.
        """
        if tries * max(asked, timedelta(0)) >= self.give_up / 2:
            return True
        waited, tried = timedelta(0), 0
        while waited < self.give_up / 2 and tried < tries:
            tried += 1
            waited += max(self.pause(tried), timedelta(seconds=1))
        return waited >= self.give_up / 2


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """How long the log keeps what. None = for ever."""

    payload_days: int | None = 30
    entry_days: int | None = 400
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of message, one direction, one store: source → layout → buffers → template → target.

    `layout` and `template` are names; the texts behind them are frozen in the configuration's recipes.
    A route without a template and target feeds the buffer book (a layout with `buffer`).
    """

    name: str
    title: str
    direction: Direction
    store: str
    source: SourceSpec
    layout: str
    template: str = ""
    target: TargetSpec | None = None
    retry: RetryPolicy = RetryPolicy()
    log: LogPolicy = LogPolicy()
    rejects: RejectsSpec | None = None
    answers: str = ""  # the route whose answers of the API this one carries to CEGID, or only into the log
    moved_from: tuple[str, ...] = ()  # names this route had before, or routes it replaces: it takes their messages over

    @property
    def log_route(self) -> str:
        """The route the log files its entries under: answers stand with what they answer."""
        return self.answers or self.name

    @property
    def kind(self) -> str:
        """The log's kind: `Request` came from CEGID, `Response` goes to CEGID."""
        return "Request" if self.direction is Direction.IMPORT else "Response"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the journal keeps it and the operator reads it."""

    kind: str
    what: str
    where: str = ""
    why: str = ""
    remedy: str = ""

    @classmethod
    def of(cls, error: CegidDaemonError) -> Fault:
        """What an error says, as plain text."""
        return cls(type(error).__name__, error.what, str(error.where), error.why, error.remedy)

    def __str__(self) -> str:
        text = f"{self.what} ({self.where})" if self.where else self.what
        text += f": {self.why}" if self.why else ""
        return f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text


def answer_route(route: str) -> str:
    """The name of the route that carries the API's answers to `route`; no configured route can have it."""
    return f"{route}/answer"


def utc_text(moment: datetime) -> str:
    """Fixed-width UTC text that sorts as time does: `2026-11-23T07:42:00.123456Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def utc_moment(text: str) -> datetime:
    """The moment behind a `utc_text`."""
    return datetime.fromisoformat(text)


_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f\udc80-\udcff]")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def escape_name(name: str) -> str:
    r"""A file name as the journal and the log store it: odd bytes as `\xNN`, reversible (`unescape_name`)."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", name)


def unescape_name(text: str) -> str:
    """The file name behind an `escape_name`."""
    return _ESCAPED.sub(lambda found: _byte(int(found[1], 16)), text)


def location(place: str, folder: str, name: str) -> str:
    """Where a file is, in one text for people: place, folder and name."""
    return "/".join(part for part in (place, escape_name(folder), escape_name(name)) if part)


def _byte(value: int) -> str:
    return chr(value) if value < 0x80 else chr(0xDC00 + value)
