"""What the web store was last told of a SKU or product, and why it was that: the shop's number, the buffer, the answer.

Owns which messages are asked: those found by the key, and the newest large file of each route of stock, whose keys are
not all indexed. Each is followed through its rewriting, so a look takes time, and only a few are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from starlette.responses import Response

from cegid_daemon.console.accounts import Made, account, made_with
from cegid_daemon.console.bufferpages import LONGEST_KEY, the_store
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.marking import Change
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.visibility import Visibility
from cegid_daemon.console.visit import Visit
from cegid_daemon.errors import Refused
from cegid_daemon.journal.book_pages import BookPages
from cegid_daemon.journal.revisions import trimmed
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import State
from cegid_daemon.rewrite.rewriting import MOST_KEYS

_MOST = 5  # messages looked into
_HITS = 200
_WHOLE = ("exact", "word")  # a record that is left out is found by its words only
_LARGE = MOST_KEYS * 8  # bytes: a smaller file has no more keys than are indexed
_VALUES = 20  # stock values of one message, for a product with many variations


@dataclass(frozen=True, slots=True)
class Telling:
    """One message and what it said of the key."""

    message: Message
    changes: Sequence[Change]
    left_out: str
    rejected: str
    fault: str = ""

    @property
    def arrived(self) -> bool:
        """Whether the store has it."""
        return self.message.state in (State.DELIVERED, State.DONE) and not (self.left_out or self.rejected)


def told(visit: Visit) -> Response:
    """The newest messages that spoke of a key, as a page or as a part of one."""
    store, key = the_store(visit, visit.asked("store")), trimmed(visit.asked("key"))[:LONGEST_KEY]
    with visit.reading() as reading:
        orders = [
            (one, made_with(one, visit.ground.config, reading.recipes, reading.book, reading.log))
            for one in (_candidates(visit, reading, store, key) if key else ())
        ]
        many = bool(BookPages(reading.connection).members(store, key, 1))
    found = [telling for message, made in orders for telling in _tellings(visit, message, made, key, many=many)]
    template = "told_part.html" if visit.asked("part") else "told.html"
    return visit.page(template, store=store, key=key, tellings=found, looked=len(orders))


def _candidates(visit: Visit, reading: Reading, store: str, key: str) -> Iterator[Message]:
    """Newest first."""
    routes = [name for name in visit.ground.config.routes if _tells_stock(visit, name, store)]
    hits = {hit.message for hit in reading.search.find(key, limit=_HITS) if hit.how in _WHOLE}
    large = (one for one in map(reading.overview.last, routes) if one is not None and one.size > _LARGE)
    may_read = Visibility.of(visit).reader(reading)
    hits |= {one.id for one in large if _holds(reading, one.id, key, may_read)}
    known = (reading.ledger.message(number) for number in sorted(hits, reverse=True))
    return islice((one for one in known if one and one.route in routes and one.payload is not None), _MOST)


def _holds(reading: Reading, message: int, key: str, may_read: Callable[[int, int], bool]) -> bool:
    """Whether the bytes of a message hold the key: known far sooner than what became of it."""
    found = reading.search.scan(key, start=message + 1, go_on=lambda messages, _size: messages < 1, may_read=may_read)
    return any(hit.message == message for hit in found)


def _tells_stock(visit: Visit, name: str, store: str) -> bool:
    config = visit.ground.config
    recipe = config.recipes.get(name)
    return (
        config.routes[name].store == store
        and recipe is not None
        and bool(recipe.templates and (recipe.layout.stock or recipe.layout.stocks))
    )


def _tellings(visit: Visit, message: Message, made: Made, key: str, *, many: bool) -> list[Telling]:
    tracer: Tracer = visit.request.app.state.tracer
    count = _VALUES if many or message.size <= _LARGE else 1  # a large file is read no further than needed
    try:
        sees_all = Visibility.of(visit).route(made.route)
        found = account(tracer, message, made, first=1, count=count, key=key, sees_all=sees_all)
    except Refused as error:
        return [Telling(message, (), "", "", str(error))]
    rows = [Telling(message, _own(one.changes, key), one.left_out, one.rejected) for one in found.rows]
    return rows or ([Telling(message, (), "", "", found.fault)] if found.fault else [])


def _own(changes: Sequence[Change], key: str) -> Sequence[Change]:
    """Those of the key, in a record that has more."""
    return [change for change in changes if key in (change.sku, change.product)] or changes
