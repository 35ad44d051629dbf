"""What the web store was last told of a SKU or product, and why it was that: the shop's number, the buffer, the answer.

Owns which messages are asked: those found by the key, and the newest large file of each route of stock, whose keys are
not all indexed. Each is followed through its rewriting, so a look takes time, and only a few are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from starlette.responses import Response

from cegid_daemon.console.bufferpages import LONGEST_KEY, the_store
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.marking import Change, changes_of, masked, rejected
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.pairs import made_with, refusals_of
from cegid_daemon.console.visit import Visit
from cegid_daemon.errors import MessageError, Refused
from cegid_daemon.journal.book_pages import BookPages
from cegid_daemon.journal.revisions import trimmed
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import State
from cegid_daemon.pipeline.envelopes import Refusal
from cegid_daemon.rewrite.masking.fields import Fields
from cegid_daemon.rewrite.recipe import Recipe
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
            _Order(one, *made_with(visit, reading, one)[:2], refusals_of(reading, one.id))
            for one in (_candidates(visit, reading, store, key) if key else ())
        ]
        many = bool(BookPages(reading.connection).members(store, key, 1))
    found = [telling for order in orders for telling in _tellings(visit, order, key, many=many)]
    template = "told_part.html" if visit.asked("part") else "told.html"
    return visit.page(template, store=store, key=key, tellings=found, looked=len(orders))


@dataclass(frozen=True, slots=True)
class _Order:
    """A message to be looked into, and what that takes."""

    message: Message
    recipe: Recipe
    revision: int
    refusals: Sequence[Refusal]


def _candidates(visit: Visit, reading: Reading, store: str, key: str) -> Iterator[Message]:
    """Newest first."""
    routes = [name for name in visit.ground.config.routes if _tells_stock(visit, name, store)]
    hits = {hit.message for hit in reading.search.find(key, limit=_HITS) if hit.how in _WHOLE}
    large = (one for one in map(reading.overview.last, routes) if one is not None and one.size > _LARGE)
    hits |= {one.id for one in large if _holds(reading, one.id, key)}
    known = (reading.ledger.message(number) for number in sorted(hits, reverse=True))
    return islice((one for one in known if one and one.route in routes and one.payload is not None), _MOST)


def _holds(reading: Reading, message: int, key: str) -> bool:
    """Whether the bytes of a message hold the key: known far sooner than what became of it."""
    found = reading.search.scan(key, start=message + 1, go_on=lambda messages, _size: messages < 1)
    return any(hit.message == message for hit in found)


def _tells_stock(visit: Visit, name: str, store: str) -> bool:
    config = visit.ground.config
    recipe = config.recipes.get(name)
    return (
        config.routes[name].store == store
        and recipe is not None
        and bool(recipe.templates and (recipe.layout.stock or recipe.layout.stocks))
    )


def _tellings(visit: Visit, order: _Order, key: str, *, many: bool) -> list[Telling]:
    tracer: Tracer = visit.request.app.state.tracer
    route, message = visit.ground.config.routes[order.message.route], order.message
    count = _VALUES if many or message.size <= _LARGE else 1  # a large file is read no further than needed
    try:
        account = tracer.look(message, route, order.recipe, order.revision, first=1, count=count, key=key)
    except (MessageError, Refused) as error:
        return [Telling(message, (), "", "", str(error))]
    shown = [masked(record, Fields.of(route.log.redact)) for record in account["records"]]
    return [
        Telling(message, _own(changes_of(one), key), one["left_out"], rejected(one, order.refusals)) for one in shown
    ]


def _own(changes: Sequence[Change], key: str) -> Sequence[Change]:
    """Those of the key, in a record that has more."""
    return [change for change in changes if key in (change.sku, change.product)] or changes
