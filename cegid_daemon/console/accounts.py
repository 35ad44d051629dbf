"""What became of each record of a stored message: the account behind the pair, for the browser and the command line.

Owns what a message was made with, and the masking of what its route does not show. Knows no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cegid_daemon.config import Config
from cegid_daemon.console.marking import PairRow, is_found, masked, row_of
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.errors import MessageError, Refused
from cegid_daemon.journal.book import BufferBook
from cegid_daemon.journal.log import LogBook
from cegid_daemon.journal.recipes import Recipes
from cegid_daemon.journal.rows import Message
from cegid_daemon.model import Route
from cegid_daemon.pipeline.verdicts import Refusal
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.masking.fields import Fields
from cegid_daemon.rewrite.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Made:
    """What a message was made with. `then`: it was; else it was not rewritten yet, and this is of today."""

    route: Route
    recipe: Recipe
    revision: int
    refusals: Sequence[Refusal]
    then: bool


@dataclass(frozen=True, slots=True)
class Account:
    """Some records, each on both sides.

    `pieces`: what was made of each; `apart`: it can be told apart by record; `fault`: why the rewriting failed;
    `hidden`: the records are kept back, as it is not certain what stands in which field of a file that failed.
    """

    rows: Sequence[PairRow]
    pieces: Sequence[str]
    apart: bool
    fault: str
    hidden: bool = False


def made_with(message: Message, config: Config, recipes: Recipes, book: BufferBook, log: LogBook) -> Made:
    """What a message was made with, or is to be. Raises Refused where its route is no longer configured."""
    route, today = config.routes.get(message.route), config.recipes.get(message.route)
    refusals = [one for one in map(Refusal.read, log.refusals(message.id)) if one is not None]
    if route is not None and message.recipe is not None and message.revision is not None:
        return Made(route, recipes.one(message.recipe), message.revision, refusals, then=True)
    if route is None or today is None:
        raise Refused(f"route {message.route} is no longer configured", remedy="Configure it again to see its pairs.")
    return Made(route, today, book.current_revision(), refusals, then=False)


def account(
    tracer: Tracer, message: Message, made: Made, *, first: int, count: int, key: str = "",
    sees_all: bool = True,
) -> Account:  # fmt: skip
    """`count` records from number `first` on, or the first ones that bear `key`. Raises Refused, Transient.

    Not `sees_all`: a record is not found by a value that its route masks, and none is shown of a file that failed: its
    fields may stand where others should.
    """
    try:
        told = tracer.look(message, made.route, made.recipe, made.revision, first=first, count=count, key=key)
    except MessageError as error:  # it took too long, or too much memory
        error = masking.tellable(error, made.recipe, made.route.log.redact)
        return Account((), (), apart=False, fault=str(error))
    if told["fault"] and not sees_all:
        return Account((), (), apart=False, fault=str(told["fault"]), hidden=True)
    hidden = Fields.of(made.route.log.redact)
    records = [masked(one, hidden) for one in told["records"]]
    if key and not sees_all:
        records = [one for one in records if is_found(one, key)]
    rows = [row_of(one, made.recipe, made.refusals) for one in records]
    return Account(rows, [one["piece"] for one in records], bool(told["pieces"]), str(told["fault"]))
