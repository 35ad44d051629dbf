"""Stock buffers: find a SKU or a product, see the three levels and which one applies, change it, see who did when."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from cegid_daemon.console.ground import Ground, Reading
from cegid_daemon.console.logpages import download
from cegid_daemon.console.rendering import query
from cegid_daemon.console.visit import Visit, back
from cegid_daemon.errors import Refused
from cegid_daemon.journal.book import Buffer
from cegid_daemon.journal.book_pages import BookPages
from cegid_daemon.journal.revisions import Change, trimmed
from cegid_daemon.rewrite.buffers import parse
from cegid_daemon.spreadsheets import SheetWriter

LEVELS = ("variation", "product", "store")
_PAGE = 100
_MEMBERS = 50
_ROWS_AT_ONCE = 2_000
LONGEST_KEY = 200


@dataclass(frozen=True, slots=True)
class LevelRow:
    """One level of the search for a buffer."""

    level: str
    key: str
    buffer: Buffer | None
    history: Sequence[Change]
    applies: bool


def buffers(visit: Visit) -> Response:
    """A key with its levels, or the list of what is set."""
    store, key = the_store(visit, visit.asked("store")), trimmed(visit.asked("key"))[:LONGEST_KEY]
    with visit.reading() as reading:
        names = _of_key(reading, store, key) if key else _of_list(reading, visit, store)
    return visit.page("buffers.html", store=store, stores=list(visit.ground.config.stores), key=key, **names)


def the_store(visit: Visit, name: str) -> str:
    """The store that is named, or the first. Raises Refused."""
    stores = visit.ground.config.stores
    if not stores:
        raise Refused("no store is configured", remedy="Add a [store.NAME] table to the configuration.")
    if name and name not in stores:
        raise Refused(f"there is no store {name!r}", remedy=f"Known: {', '.join(stores)}.")
    return name or next(iter(stores))


def _of_key(reading: Reading, store: str, key: str) -> dict[str, object]:
    product = reading.book.product_of(store, key)
    pages = BookPages(reading.connection)
    members = pages.members(store, key, _MEMBERS)
    is_product = bool(members) or (product is None and reading.book.get(store, "product", key) is not None)
    wanted = [] if is_product else [("variation", key)]
    wanted += [("product", key if is_product else product or ""), ("store", "")]
    return {
        "levels": _levels(reading, store, wanted), "members": members, "is_product": is_product, "product": product,
        "buffers": [], "rest": None, "revisions": [],
        "others": [] if reading.book.knows(store, key) else pages.beginning(store, key, _MEMBERS),
    }  # fmt: skip


def _levels(reading: Reading, store: str, wanted: Sequence[tuple[str, str]]) -> list[LevelRow]:
    rows: list[LevelRow] = []
    for level, key in wanted:
        known = level == "store" or bool(key)
        buffer = reading.book.get(store, level, key) if known else None
        decided = any(row.applies for row in rows)
        applies = not decided and buffer is not None and buffer.units is not None
        rows.append(LevelRow(level, key, buffer, reading.book.history(store, level, key) if known else (), applies))
    return rows


def _of_list(reading: Reading, visit: Visit, store: str) -> dict[str, object]:
    pages = BookPages(reading.connection)
    found, rest = pages.buffers(store, (visit.asked("level"), visit.asked("behind")), _PAGE)
    return {"levels": [], "members": [], "is_product": False, "product": None, "buffers": found, "rest": rest,
            "others": [], "revisions": pages.revisions(10)}  # fmt: skip


def change(visit: Visit) -> Response:
    """Sets or unsets one buffer."""
    store, level, key = the_store(visit, visit.typed("store")), visit.typed("level"), visit.typed("key")[:LONGEST_KEY]
    value, ground = visit.typed("value"), visit.ground
    if trimmed(value) and parse(value) is None:
        raise Refused(f"{value!r} is not a stock buffer", why="a buffer is zero or a positive whole number of units",
                      remedy="Go back and give one, or leave the field blank to unset the buffer.")  # fmt: skip
    buffer = ground.journal.book.set(store, level, key, value, who=visit.who, now=ground.clock(), origin="console")
    told = (
        "unset: the next level applies" if buffer.units is None else f"{buffer.units} held back from the next file on"
    )
    shown = trimmed(visit.typed("shown")) or key
    return back(
        visit, f"/buffers?{query(store=store, key=shown)}", f"{level.capitalize()} {key}: {told}.".replace(" :", ":")
    )


def history(visit: Visit) -> Response:
    """Every change of one buffer."""
    store, level, key = the_store(visit, visit.asked("store")), visit.asked("level"), trimmed(visit.asked("key"))
    with visit.reading() as reading:
        changes = reading.book.history(store, level, key)
    return visit.page("history.html", store=store, level=level, key=key, changes=list(reversed(changes)))


def export(visit: Visit) -> Response:
    """Every buffer of a store as CSV, as an import takes it again."""
    store = the_store(visit, visit.asked("store"))
    return download(_rows(visit.ground, store), f"buffers-{store}.csv", "text/csv; charset=utf-8")


def _rows(ground: Ground, store: str) -> Iterator[bytes]:
    """A page at a time, so that a slow browser keeps no reader from others."""
    yield _lines([("store", "level", "key", "value")])
    behind: tuple[str, str] | None = ("", "")
    while behind is not None:
        with ground.readers.lend() as reading:
            found, behind = BookPages(reading.connection).buffers(store, behind, _ROWS_AT_ONCE)
        yield _lines((one.store, one.level, one.key, one.value) for one in found)


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    SheetWriter(text, line_end="\r\n").writerows(rows)
    return text.getvalue().encode()
