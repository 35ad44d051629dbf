"""The API Integration Log in the browser: filters, search, pages, download.

Owns how an address becomes a filter and back, so that every view is a link that can be sent to somebody.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from cegid_daemon.console.ground import Reading
from cegid_daemon.console.rendering import query
from cegid_daemon.console.visibility import Visibility
from cegid_daemon.console.visit import Visit
from cegid_daemon.journal.log import LogEntry
from cegid_daemon.journal.paging import Page, Wanted
from cegid_daemon.journal.queue import Queue
from cegid_daemon.journal.rows import Message
from cegid_daemon.journal.search import Hit
from cegid_daemon.model import OUTCOMES
from cegid_daemon.spreadsheets import SheetWriter

SIZES = (25, 50, 100, 200)
SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
ORDERS = {  # what it is called in an address: the column, whether downwards, and in words
    "": ("time", True, "newest first"), "oldest": ("time", False, "oldest first"),
    "largest": ("size", True, "largest first"), "smallest": ("size", False, "smallest first"),
    "a-z": ("name", False, "file name, a to z"), "z-a": ("name", True, "file name, z to a"),
}  # fmt: skip
_QUEUED = 20  # messages found of which it is said what they wait for
_HITS = 500  # messages that a search goes on with
_LIST_SECONDS = 0.08
_SCAN_SECONDS = 1.5
_MOST_EXPORTED = 100_000
_LONGEST_SEARCH = 200
_COLUMNS = (
    "id", "logged_at", "store", "integration", "route", "message_id", "kind", "variant", "name", "part", "endpoint",
    "file_name", "size", "sha256", "outcome", "error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """What the address asks for, as it was typed."""

    q: str = ""
    store: str = ""
    route: str = ""
    kind: str = ""
    variant: str = ""
    outcome: str = ""
    span: str = ""
    since: str = ""
    until: str = ""
    order: str = ""
    size: int = 50

    @classmethod
    def of(cls, visit: Visit) -> Filter:
        """The filter in an address; what cannot be is taken as not given."""
        texts = {one.name: visit.asked(one.name).strip()[:_LONGEST_SEARCH] for one in fields(cls) if one.name != "size"}
        texts["q"] = visit.asked("q").strip()[:_LONGEST_SEARCH]
        size = visit.number("size", 50, max(SIZES))
        return cls(**texts, size=size if size in SIZES else 50)

    @property
    def sorting(self) -> tuple[str, bool]:
        """The column the list goes by, and whether downwards: the newest, the largest, or z first."""
        return ORDERS.get(self.order, ORDERS[""])[:2]

    def turned(self, first: str, second: str) -> str:
        """What a click on the head of a column asks for: its first order, or the second one if that is shown."""
        return self.query(order=second if self.order == first else first)

    def sorted_by(self, column: str) -> str:
        """How a table's head says that it is sorted by this column; "" if it is not."""
        by, downwards = self.sorting
        return ("descending" if downwards else "ascending") if by == column else ""

    @property
    def narrow(self) -> bool:
        """Whether anything is asked for beside all entries."""
        return any(
            getattr(self, name)
            for name in ("q", "store", "route", "kind", "variant", "outcome", "span", "since", "until")
        )

    def query(self, **changed: object) -> str:
        """This filter as an address, with some of it changed."""
        own = asdict(self)
        own["size"] = "" if self.size == 50 else self.size
        return query(**{**own, **changed})

    def wanted(self, now: datetime, messages: tuple[int, ...] | None = None) -> Wanted:
        """What the journal is asked for."""
        since = now - SPANS[self.span] if self.span in SPANS else typed_moment(self.since)
        return Wanted(
            store=self.store or None, route=self.route or None, kind=self.kind or None, variant=self.variant or None,
            outcome=self.outcome or None, since=since, until=typed_moment(self.until), messages=messages,
        )  # fmt: skip


def typed_moment(text: str) -> datetime | None:
    """A date or a time in UTC, as the browser's fields give it; None for what is neither, or no clock counts."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # the first and the last hours of time have no UTC
        return None


def listing(visit: Visit) -> Response:
    """A page of entries."""
    chosen = Filter.of(visit)
    with visit.reading() as reading:
        found = _found(Visibility.of(visit), reading, chosen)
        hits = _messages(found)
        behind = visit.number("behind", 0, 1 << 62) or None
        page = Page([]) if hits == () else reading.pages.page(
            chosen.wanted(visit.ground.clock(), hits), limit=chosen.size, behind=behind,
            by=chosen.sorting[0], newest_first=chosen.sorting[1], go_on=visit.within(_LIST_SECONDS),
        )  # fmt: skip
        routes = list(dict.fromkeys([*visit.ground.config.routes, *reading.pages.routes()]))
        keys = _keys(found or (), page.entries)
        named = {one.store for one in page.entries if one.kind == "Request" and keys.get(one.message_id) == chosen.q}
        stores = visit.ground.config.stores if chosen.q else {}
        queued = _queued(visit, reading, found or ())
        known_to = [one for one in stores if one in named or reading.book.knows(one, chosen.q)]
    return visit.page(
        "log.html", chosen=chosen, entries=page.entries, page=page, behind=behind, hits=hits, routes=routes,
        stores=list(visit.ground.config.stores), sizes=SIZES, outcomes=OUTCOMES, orders=ORDERS, most_hits=_HITS,
        keys=keys, known_to=known_to, queued=queued,
    )  # fmt: skip


def _found(visibility: Visibility, reading: Reading, chosen: Filter) -> Sequence[Hit] | None:
    """What a search found by key, name or word; None: nothing is searched for."""
    return visibility.hits(reading, reading.search.find(chosen.q, limit=_HITS)) if chosen.q else None


def _queued(visit: Visit, reading: Reading, found: Sequence[Hit]) -> list[tuple[Message, str]]:
    """Of what was found, the newest that are on their way, and what they wait for."""
    config, settings = visit.ground.config, reading.book.settings
    stores = config.stores
    queue = Queue(
        reading.connection,
        lambda name: name not in stores or settings.enabled(stores[name]),
        config.routes.__contains__,
    )
    messages = reading.ledger.messages([hit.message for hit in found[:_QUEUED]]) if found else []
    return [(message, queue.reason(message)) for message in messages]


def _messages(found: Sequence[Hit] | None) -> tuple[int, ...] | None:
    return None if found is None else tuple(hit.message for hit in found)


def _keys(found: Sequence[Hit], entries: Sequence[LogEntry]) -> dict[int, str]:
    """The key by which the pair of a message is looked into; a file's name is none."""
    names = {entry.file_name for entry in entries}
    return {hit.message: hit.key for hit in found if hit.how in ("exact", "beginning", "part") and hit.key not in names}


def scan(visit: Visit) -> Response:
    """Looks through stored contents for any text, newest first, a stretch at a time; goes on behind `start`."""
    chosen = Filter.of(visit)
    start = visit.number("start", 0, 1 << 62) or None
    looked = visit.number("looked", 0, 1 << 62)
    with visit.reading() as reading:
        found = _scanned(reading, visit, chosen, start) if chosen.q else _Scan((), None, 0, 0)
        page = Page([]) if not found.messages else reading.pages.page(
            chosen.wanted(visit.ground.clock(), found.messages), limit=max(SIZES), newest_first=True
        )  # fmt: skip
        first = reading.connection.one("SELECT min(id), max(id) FROM message")
    total = (first[1] - first[0] + 1) if first and first[0] is not None else 0
    template = "scan_part.html" if visit.asked("part") else "scan.html"
    return visit.page(
        template, chosen=chosen, entries=page.entries, found=found, looked=looked + found.looked, total=total
    )


@dataclass(frozen=True, slots=True)
class _Scan:
    messages: tuple[int, ...]
    go_on: int | None  # the last message looked at, where there are more
    looked: int
    size: int


def _scanned(reading: Reading, visit: Visit, chosen: Filter, start: int | None) -> _Scan:
    in_time = visit.within(_SCAN_SECONDS)
    far = {"messages": 0, "bytes": 0, "ended": False}

    def go_on(messages: int, count: int) -> bool:
        far.update(messages=messages, bytes=count)
        far["ended"] = not in_time()
        return not far["ended"]

    may_read = Visibility.of(visit).reader(reading)
    found = reading.search.scan(chosen.q, go_on=go_on, start=start, may_read=may_read)
    hits = tuple(hit.message for hit in found)
    if not far["ended"]:
        return _Scan(hits, None, far["messages"] + 1, far["bytes"])
    looked = max(1, far["messages"])
    row = reading.connection.one(
        "SELECT min(id) FROM (SELECT id FROM message WHERE id < ? ORDER BY id DESC LIMIT ?)", (start or 1 << 62, looked)
    )
    return _Scan(hits, row[0] if row else None, looked, far["bytes"])


def export(visit: Visit) -> Response:
    """The filtered list as CSV, at most a hundred thousand rows."""
    chosen = Filter.of(visit)
    name = f"api-integration-log-{visit.ground.clock():%Y%m%d-%H%M%S}.csv"
    return download(_csv(visit, chosen), name, "text/csv; charset=utf-8")


def _csv(visit: Visit, chosen: Filter) -> Iterator[bytes]:
    """A page at a time, so that a slow browser keeps no reader from others."""
    ground = visit.ground
    with ground.readers.lend() as reading:
        hits = _messages(_found(Visibility.of(visit), reading, chosen))
    wanted, last, left = chosen.wanted(ground.clock(), hits), None, _MOST_EXPORTED
    yield _lines([{name: name for name in _COLUMNS}])
    while left > 0 and hits != ():
        with ground.readers.lend() as reading:
            page = reading.pages.page(
                wanted, limit=min(1_000, left), behind=last, by=chosen.sorting[0], newest_first=chosen.sorting[1]
            )
        yield _lines([asdict(entry) for entry in page.entries])
        left, last = left - len(page.entries), page.go_on
        if last is None:
            return


def _lines(rows: Sequence[Mapping[str, object]]) -> bytes:
    text = io.StringIO()
    SheetWriter(text, line_end="\r\n").writerows([row[name] for name in _COLUMNS] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def download(body: Iterator[bytes], name: str, kind: str = "application/octet-stream") -> StreamingResponse:
    """Bytes to be saved, never shown: whatever they are, the browser runs nothing of them."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name)[:150]
    exact = quote(name.encode("utf-8", "surrogateescape"), safe="")
    headers = {
        "content-disposition": f"attachment; filename=\"{plain or 'file'}\"; filename*=UTF-8''{exact}",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return StreamingResponse(body, headers=headers, media_type=kind)
