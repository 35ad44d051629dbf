"""The rewriting of one message from end to end: layout, buffers, unique keys, template, output, parts.

Owns the order of these and the account of every record: sent, left out by a reason, or the whole message fails. A pure
stream: records come from an opener of bytes, parts go into a sink, and nothing of them counts until `rewrite` returns.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from typing import IO

from cegid_daemon.errors import NOTHING, BadInput, ConfigurationError, MessageError, Place, TemplateFault
from cegid_daemon.rewrite import buffers, filters, templates
from cegid_daemon.rewrite.expressions import compile_text
from cegid_daemon.rewrite.keys import Block, columns_of, found
from cegid_daemon.rewrite.numbers import BLANKS
from cegid_daemon.rewrite.output import Outlet, pieces
from cegid_daemon.rewrite.ports import Book, Job, PartMade, Rewritten, Sink
from cegid_daemon.rewrite.provenance import PRINTED, Printed, counting
from cegid_daemon.rewrite.reachable import OnePass
from cegid_daemon.rewrite.reads import fields_read
from cegid_daemon.rewrite.recipe import Layout, Recipe
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.remarks import Remarks, refuse
from cegid_daemon.rewrite.tally import Tally

DELIVERED = "already delivered"
REPEATED = "repeated in this file"
UNUSED = "not used by the template"
UNPRINTED = "not printed by the template"
IN_TOTAL = "summed by the template"
MOST_KEYS = 5_000
MOST_TOLD = 1_000  # ignored values of a buffer file that are told each by itself
_BLOCK = 1_000  # keys asked of the book at once
_RECENT = 1_024  # records kept to name the one that holds a bad character
_ENDLESS = -1

Keyed = tuple[Record, str]
"""A record with its unique key; blank where the recipe has no `unique`."""


def rewrite(
    recipe: Recipe,
    job: Job,
    open_source: Callable[[], Iterable[bytes]],
    book: Book,
    sink: Sink,
    *,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
    stock: buffers.Stocking = buffers.of_file,
) -> Rewritten:
    """Rewrites one message; no part means that there is nothing to send.

    `open_source` opens the received bytes from the start, `scratch` a temporary file for what outgrows memory; `stock`
    gives the records that go on, as `buffers.of_file` does. Raises `BadInput`, `TemplateFault` or `BadOutput`, and then
    nothing in the sink counts.
    """
    tally = Tally(remarks=Remarks(fields_read(recipe)))
    try:
        if recipe.layout.buffer:
            done = _fed(found(recipe.layout, open_source, tally), recipe.layout, book, sink, tally)
        else:
            stocked = stock(recipe.layout, open_source, book, tally, belongs=sink.belongs, scratch=scratch)
            with filters.reading(recipe.layout.decimal, lambda text: tally.notes.update((text,)), tally.no_number):
                done = _Rewriting(recipe, job, sink, tally).run(keyed(stocked, recipe, book, tally))
        if recipe.remarks == "fail":
            refuse(done.coverage.remarks)
    except MessageError as error:
        error.at(route=job.route, file=job.source_name)
        raise
    return done


def _fed(blocks: Iterator[Block], layout: Layout, book: Book, sink: Sink, tally: Tally) -> Rewritten:
    keys = SearchKeys()
    for level, key, value, line in buffers.fed(blocks, layout, book, tally, belongs=sink.belongs):
        sink.buffer(level, key, value, line)
        if value.strip(BLANKS) and buffers.parse(value) is None:
            _tell_ignored(tally, f"line {line}: {key}: {value!r}: {buffers.IGNORED}")
        keys.add(key)
        tally.sent += 1
    return Rewritten(tally.coverage(), keys=keys.all())


def _tell_ignored(tally: Tally, remark: str) -> None:
    """Each ignored value is told with its line; past `MOST_TOLD` of them, how many."""
    tally.notes[remark if len(tally.notes) < MOST_TOLD else f"more values: {buffers.IGNORED}"] += 1


def keyed(records: Iterator[Record], recipe: Recipe, book: Book, tally: Tally) -> Iterator[Keyed]:
    """The records with their unique keys, without those that were delivered already or come again in this file."""
    if not recipe.unique:
        yield from ((record, "") for record in records)
        return
    key_of: Callable[[Record], str] | None = None
    met: set[str] = set()
    while read := list(islice(records, _BLOCK)):
        key_of = key_of or compile_text(recipe.unique, recipe.layout, columns_of(read[0], recipe.layout))
        block = [(record, _key(record, key_of)) for record in read]
        delivered = set(book.exported([key for _, key in block]))
        for record, key in block:
            if key in delivered or key in met:
                tally.left_out[DELIVERED if key in delivered else REPEATED] += 1
            else:
                met.add(key)
                yield record, key


def _key(record: Record, key_of: Callable[[Record], str]) -> str:
    key = key_of(record)
    if not key:
        raise BadInput(
            "the unique key is blank",
            where=Place(record=record.number, line=record.line),
            why="without it it is unknown whether the record was delivered already",
            remedy="Correct the file, or the route's unique.",
        ).quoting(NOTHING)
    return key


class SearchKeys:
    """The distinct keys a message can be found by: none when there are more than `MOST_KEYS`."""

    def __init__(self) -> None:
        self._keys: dict[str, None] | None = {}

    def add(self, *keys: str) -> None:
        """Adds keys; blank ones are none."""
        if self._keys is None:
            return
        self._keys.update((key, None) for key in keys if key)
        if len(self._keys) > MOST_KEYS:
            self._keys = None

    def add_record(self, record: Record) -> None:
        """Adds a record's SKU and product."""
        if self._keys is not None:
            self.add(str(record.get("sku", "")), str(record.get("product", "")))

    def all(self) -> tuple[str, ...]:
        """The keys in the order they came."""
        return tuple(self._keys or ())


def search_keys_of(recipe: Recipe, open_source: Callable[[], Iterable[bytes]]) -> Iterator[list[str]]:
    """What a received file is to be found by, as its rewriting will, without rendering it: some keys at a time.

    Raises as `rewrite` does.
    """
    key_of: Callable[[Record], str] | None = None
    for block in found(recipe.layout, open_source, Tally()):
        keys = [key for values in block.all for _, *own, _ in values.rows for key in own]
        if recipe.unique:
            for record, *_ in block.own.rows:
                key_of = key_of or compile_text(recipe.unique, recipe.layout, columns_of(record, recipe.layout))
                keys.append(key_of(record))
        yield keys


class PartRecords(OnePass, Iterator[Record]):
    """The records of one part as its template sees them: once, in order."""

    def __init__(
        self, source: Iterator[Keyed], most: int, taken: Callable[[Record, str], None], printed: Printed
    ) -> None:
        self._source = islice(source, most if most >= 0 else None)
        self._given: Generator[Record] = self._give(taken, printed)
        self._passed = printed.pass_by
        self.read = 0
        self.recent: deque[Record] = deque(maxlen=_RECENT)

    def __iter__(self) -> Iterator[Record]:
        return self._given

    def __next__(self) -> Record:
        return next(self._given)

    def _give(self, taken: Callable[[Record, str], None], printed: Printed) -> Generator[Record]:
        remember, passed, levels, room, at_once = self.recent.append, printed.pass_by, printed.levels, 0, 0
        try:
            for self.read, (record, key) in enumerate(self._source, 1):  # noqa: B020  # counts as it goes
                remember(record)
                taken(record, key)
                yield record
                number = record.number
                if record.printed and number < room and not levels[number]:
                    levels[number] = PRINTED
                    at_once += 1
                else:
                    passed(record)
                    room = len(levels)
        finally:
            printed.count += at_once

    def printed(self) -> None:
        """All but the last records are in the output: only the last may still be printed from."""
        last = list(self.recent)[-2:]
        self.recent.clear()
        self.recent.extend(last)

    def rest(self) -> int:
        """How many records the template left unread; they are gone then."""
        self._given.close()
        if self.recent:
            self._passed(self.recent[-1])
        return sum(1 for _ in self._source)


class _Rewriting:
    """What the parts of one message share."""

    def __init__(self, recipe: Recipe, job: Job, sink: Sink, tally: Tally) -> None:
        if recipe.templates is None:
            raise ConfigurationError("the route has neither a template nor a layout with a buffer")
        self._recipe = recipe
        self._script = templates.compile(recipe.templates)
        self._names = templates.names(job)
        self._sink = sink
        self._tally = tally
        self._keys = SearchKeys()
        self._printed = Printed()
        self._unique: list[str] = []
        self._taken: list[tuple[int, str]] = []  # numbers and unique keys of the part at hand
        self._inner = [stocks.each for stocks in recipe.layout.stocks if stocks.each]

    def run(self, records: Iterator[Keyed]) -> Rewritten:
        """Makes the parts, one for each `batch` of records."""
        made: list[PartMade] = []
        names: set[str] = set()
        while (first := next(records, None)) is not None:
            here = PartRecords(
                chain((first,), records), self._recipe.output.batch or _ENDLESS, self._take, self._printed
            )
            part = self._part(len(made) + 1, here)
            if part.name in names:
                raise TemplateFault(
                    f"part {part.no} would have the name of an earlier part, {part.name!r}",
                    remedy="Use {{ part }} in target.name.",
                )
            names.add(part.name)
            made.append(part)
        return Rewritten(self._tally.coverage(), tuple(made), self._keys.all(), tuple(self._unique))

    def _part(self, no: int, records: PartRecords) -> PartMade:
        seen = {**self._names, "part": no}
        name = templates.file_name(self._recipe.target_name, seen)
        writer = self._sink.part(no)
        try:
            outlet = Outlet(
                self._recipe.output, self._script.name, writer, note=self._note, recent=lambda: records.recent
            )
            with counting(self._printed):
                for piece in pieces(self._script.render({**seen, "records": records})):
                    outlet.write(piece)
                    records.printed()
            outlet.finish()
        finally:
            writer.close()
        return PartMade(no, name, self._account(records), outlet.size, outlet.sha256)

    def _account(self, records: PartRecords) -> int:
        """Counts what became of the records of a part; gives how many of them were printed."""
        tally, printed = self._tally, self._printed
        unread = records.rest()
        sent, in_total = printed.count, printed.in_total
        printed.count = printed.in_total = 0
        tally.sent += sent
        tally.left_out[IN_TOTAL] += in_total
        tally.left_out[UNPRINTED] += records.read - sent - in_total
        tally.left_out[UNUSED] += unread
        self._unique += [key for number, key in self._taken if printed.level(number)]
        self._taken.clear()
        return sent

    def _take(self, record: Record, key: str) -> None:
        self._keys.add_record(record)
        for path in self._inner:
            for one in record.each(path):
                self._keys.add_record(one)
        if key:
            self._keys.add(key)
            self._taken.append((record.number, key))

    def _note(self, text: str, times: int) -> None:
        self._tally.notes[text] += times
