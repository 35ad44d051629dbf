"""The same rewriting once more, with an account of what became of each record: for people, nothing of it is sent.

Owns how a record is followed from the file through skip, key, buffers and unique keys into the piece of output the
template made of it. Runs where rewritings run, in a bounded worker; looks at a window of records and stops behind it.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import IO, Any

from cegid_daemon.errors import BadInput, CegidDaemonError, MessageError
from cegid_daemon.rewrite import buffers, filters, layouts, masking, templates
from cegid_daemon.rewrite.expressions import compile_text
from cegid_daemon.rewrite.keys import Keys
from cegid_daemon.rewrite.ports import Book, Job, PartMade, Rewritten, Sink
from cegid_daemon.rewrite.provenance import PASSED, Printed, counting
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.rewrite.record import AsItCame, Record
from cegid_daemon.rewrite.rewriting import DELIVERED, IN_TOTAL, UNPRINTED, UNUSED, PartRecords, keyed
from cegid_daemon.rewrite.surmise import at_once
from cegid_daemon.rewrite.tally import SUMMED, TITLES, Tally

_FIELDS = 60  # fields of a record that are shown
_TEXT = 500  # characters of a field
_NOT_TAKEN = f"delivered before, repeated in this file, or {UNUSED}"
_PIECE = 20_000  # characters of output of one record
_LOOKS_AHEAD = re.compile(r"\bloop\s*\.\s*(last|nextitem|length|revindex)")


@dataclass(frozen=True, slots=True)
class Look(Job):
    """A rewriting to be followed: `count` records from number `first` on (from 1), or those that bear `key`."""

    first: int = 1
    count: int = 50
    key: str = ""
    redact: tuple[str, ...] = ()  # fields whose values the fault may not quote


def trace(
    recipe: Recipe,
    job: Look,
    open_source: Callable[[], Iterable[bytes]],
    book: Book,
    sink: Sink,
    *,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Rewritten:
    """Writes one JSON document into part 1: `records`, `whole`, `pieces`, `fault`.

    `whole`: the file was read to its end; `pieces`: the output of the template can be told apart by record; `fault`:
    why the rewriting failed, behind the records it came to.
    """
    witness = _Witness(job, recipe)
    tally = _FollowedTally(left_out=_Reasons(witness.leaves_out), passes_over=witness.passes_over)
    pieces, fault = False, ""
    try:
        blocks = Keys(recipe.layout, tally).blocks(witness.reads(layouts.read(recipe.layout, open_source, tally)))
        if recipe.layout.buffer:
            witness.feeds(buffers.fed(blocks, recipe.layout, book, tally))
        else:
            stocked = buffers.stocked(blocks, recipe.layout, book, tally, scratch=scratch)
            pieces = _render(recipe, job, witness, keyed(witness.stocks(stocked), recipe, book, tally))
        whole = True
    except _Enough:
        whole, pieces = False, _tells_apart(recipe)
    except MessageError as error:
        told = masking.tellable(error, recipe, job.redact)
        whole, fault = False, str(told.at(route=job.route, file=job.source_name))
    body: dict[str, Any] = {"records": witness.told(whole), "whole": whole, "pieces": pieces, "fault": fault}
    writer = sink.part(1)
    encoded = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    writer.write(encoded)
    writer.close()
    return Rewritten(tally.coverage(), (PartMade(1, "trace", len(body["records"]), len(encoded), ""),))


def _tells_apart(recipe: Recipe) -> bool:
    """A template that looks ahead reads a record before it has printed the one before it."""
    return recipe.templates is not None and not any(map(_LOOKS_AHEAD.search, recipe.templates.texts.values()))


def _render(recipe: Recipe, job: Look, witness: _Witness, records: Iterator[tuple[Record, str]]) -> bool:
    assert recipe.templates is not None
    script, no = templates.compile(recipe.templates), 0
    apart = _tells_apart(recipe)
    names = templates.names(job)
    with filters.reading(recipe.layout.decimal, lambda _text: None), counting(witness.printed):
        while (first := next(records, None)) is not None:
            no += 1
            here = _Followed(chain((first,), records), recipe.output.batch or -1, witness.takes, witness.printed)
            here.ended = witness.ends_part
            for text in script.render({**names, "part": no, "records": here}):
                witness.prints(text if apart else "")
            witness.ends_part()
            here.rest()
    return apart


class _Followed(PartRecords):
    """Says when the template has met the end: what it prints from then on belongs to no record."""

    ended: Callable[[], None]

    def _give(self, taken: Callable[[Record, str], None], printed: Printed) -> Generator[Record]:
        for record in super()._give(taken, printed):
            record.printed = PASSED  # so that every mark is told at once
            yield record
        self.ended()


class _Enough(CegidDaemonError):
    """The window is complete. One of our own errors, as a template passes no other one on as it is."""


class _Reasons(Counter[str]):
    """A counter that tells which reason just went up."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told

    def __setitem__(self, reason: str, times: int) -> None:
        super().__setitem__(reason, times)
        self._told(reason)


@dataclass(slots=True)
class _FollowedTally(Tally):
    """Tells of the rows that the reading itself leaves out: they never come by as records."""

    passes_over: Callable[[Record, str], None] = lambda _record, _reason: None

    def repeat_titles(self, record: Record, text: str) -> None:
        super(_FollowedTally, self).repeat_titles(record, text)  # a class with slots has no bare super()
        self.passes_over(record, TITLES)


@dataclass(slots=True)
class _Row:
    number: int
    line: int
    fields: dict[str, str]
    values: list[dict[str, str]] = field(default_factory=list)
    key: str = ""
    left_out: str = ""
    taken: bool = False  # by the template
    sent: bool = False
    piece: str = ""
    hidden: list[str] = field(default_factory=list)  # the values that the route masks, whole


class _Witness:
    """Follows the records of a window."""

    def __init__(self, job: Look, recipe: Recipe) -> None:
        self._job = job
        self._masks = masking.Fields.of(job.redact)
        self._layout = recipe.layout
        self._unused = _NOT_TAKEN if recipe.unique else UNUSED
        self._prints_at_once = _tells_apart(recipe) and recipe.templates is not None and at_once(recipe.templates)
        self._at = 0
        self._rows: dict[int, _Row] = {}
        self.printed = Printed(self._marks)
        self._printing: _Row | None = None
        self._marked: dict[int, _Row | None] = {}  # records whose values stand in the text to come
        self._stocked: set[int] = set()

    def reads(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            self._at = record.number
            if self._wants(record):
                self._rows[record.number] = self._row(record, key=self._key(record))
            yield record

    def passes_over(self, record: Record, reason: str) -> None:
        """A row that is left out before it becomes a record."""
        if self._wants(record):
            self._rows[record.number] = self._row(record, left_out=reason)

    def _row(self, record: Record, key: str = "", left_out: str = "") -> _Row:
        hidden = [text for path, text in _texts(record) if self._masks.masks(path)] if self._job.redact else []
        return _Row(record.number, record.line, dict(_shown(record)), key=key, left_out=left_out, hidden=hidden)

    def _key(self, record: Record) -> str:
        """What the record is known by; blank where the layout names nothing, or the file lacks it."""
        for text in filter(None, (self._layout.sku, self._layout.product)):
            with suppress(BadInput):
                if key := compile_text(text, self._layout)(record).strip():
                    return key
        return ""

    def _wants(self, record: Record) -> bool:
        job = self._job
        if not job.key:
            return job.first <= record.number < job.first + job.count
        return len(self._rows) < job.count and any(text.strip() == job.key for _, text in _shown(record))

    def leaves_out(self, reason: str) -> None:
        if reason not in (SUMMED, UNUSED, DELIVERED, TITLES) and self._at in self._rows:
            self._rows[self._at].left_out = reason

    def stocks(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            if (row := self._rows.get(record.number)) is not None:
                self._stocked.add(record.number)
                row.values = [_value(one) for one in (record, *record.held()) if "stock" in one._set]
                row.key = str(record.get("sku") or record.get("product") or row.key)
            yield record

    def feeds(self, settings: Iterator[tuple[str, str, str, int]]) -> None:
        by_line = {}
        for level, key, value, line in settings:
            by_line[line] = (level, key, value)
        for row in self._rows.values():
            if row.line in by_line:
                level, row.key, value = by_line[row.line]
                row.sent, row.piece = True, f"{level} {row.key}: {value}"

    def takes(self, record: Record, key: str) -> None:
        self._printing = self._rows.get(record.number)
        if self._printing is not None:
            self._printing.taken = True
            self._printing.key = key or self._printing.key
        elif self._is_complete(record) and self._is_known():
            raise _Enough("the window is complete")

    def _is_known(self) -> bool:
        """Whether nothing more can be learnt of the records of the window: none of them may be printed later."""
        return self._prints_at_once or all(row.sent or not row.taken for row in self._rows.values())

    def _marks(self, number: int) -> None:
        row = self._marked[number] = self._rows.get(number)
        if row is not None:
            row.sent = True

    def _is_complete(self, record: Record) -> bool:
        job = self._job
        if job.key:  # records are read ahead of being taken
            return len(self._rows) >= job.count and record.number > max(self._rows)
        return record.number >= job.first + job.count

    def prints(self, text: str) -> None:
        """A text belongs to the records whose values stand in it; where there are none, to the one at hand."""
        for row in self._marked.values() if self._marked else (self._printing,):
            if row is not None and len(row.piece) < _PIECE:
                row.piece = "".join((row.piece, text))  # plain text: adding to what is marked as safe would escape it
        self._marked.clear()

    def ends_part(self) -> None:
        self._printing = None

    def told(self, whole: bool) -> list[dict[str, Any]]:
        """The rows, each with why it was not sent where it was not."""
        for row in self._rows.values():
            if not row.sent and not row.left_out:
                row.left_out = self._reason(row, whole)
                if row.left_out != IN_TOTAL:
                    row.values = []  # a number that was never sent is none of its
        return [_as_json(row) for row in sorted(self._rows.values(), key=lambda row: row.number)]

    def _reason(self, row: _Row, whole: bool) -> str:
        if row.taken and (whole or self._prints_at_once):
            return IN_TOTAL if self.printed.level(row.number) else UNPRINTED
        if not whole:
            return (
                "not known, as the file was not read to its end"
                if row.taken
                else ("not sent, as the file was not read to its end")
            )
        if row.number in self._stocked:
            return self._unused
        return SUMMED


def _as_json(row: _Row) -> dict[str, Any]:
    return {
        "number": row.number, "line": row.line, "key": row.key, "fields": row.fields, "values": row.values,
        "left_out": row.left_out, "hidden": row.hidden, "piece": textwrap.dedent(row.piece[:_PIECE]).strip(),
    }  # fmt: skip


def _shown(record: Record) -> Iterator[tuple[str, str]]:
    """The texts of a record and of all that stands inside it, each with its path."""
    return ((name, text[:_TEXT]) for name, text in islice(_texts(record), _FIELDS))


def _texts(record: Record) -> Iterator[tuple[str, str]]:
    element = getattr(record, "element", None)
    return _elements(element, "") if element is not None else _items(record, "")


def _items(record: Record, above: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{above}{name}", str(value)) for name, value in record.raw.items())
    for path, inner in (record._inner or {}).items():
        for number, one in enumerate(inner, 1):
            yield from _items(one, f"{above}{path}[{number}]/")


def _elements(element: Any, above: str) -> Iterator[tuple[str, str]]:
    """An element's attributes and what it holds; the same name once more gets a number."""
    yield from ((f"{above}@{_local(name)}", value) for name, value in element.items())
    met: Counter[str] = Counter()
    for child in element:
        met[child.tag] += 1
        name = _local(child.tag) + (f"[{met[child.tag]}]" if met[child.tag] > 1 else "")
        if len(child) or child.items():
            yield from _elements(child, f"{above}{name}/")
        if not len(child):
            yield f"{above}{name}", (child.text or "").strip()


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _value(record: Record) -> dict[str, str]:
    names = ("sku", "product", "raw_stock", "stock", "buffer", "buffer_level")
    found = {name: record.get(name, "") for name in names}
    return {name: str(value.number if isinstance(value, AsItCame) else value) for name, value in found.items()}
