"""What the keys of a layout say together about a file: names that come twice, keys that would do nothing.

Owns faults of one `[layout.NAME]` table beside its expressions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from cegid_daemon.config.faults import Trouble
from cegid_daemon.config.layout_tables import LayoutTable, StocksTable
from cegid_daemon.config.lines import KeyPath

_STEP = r"(?:\{[^{}]*\})?[^\W\d][\w.\-]*"  # a name, by itself or behind its namespace
_NAME = re.compile(_STEP)
_PATH = re.compile(rf"/?{_STEP}(?:/{_STEP})*")
_BELOW = re.compile(rf"{_STEP}(?:/{_STEP})*")
_DOES_NOTHING = "Remove it, or the other."


def troubles_of_geometry(path: KeyPath, table: LayoutTable) -> Iterator[Trouble]:
    """Columns that cannot be told apart or are not there, and a proof that proves nothing."""
    yield from _twice((*path, "columns"), table.columns)
    yield from _twice((*path, "fields"), (field.name for field in table.fields))
    for kind, columns in table.types.items():
        yield from _twice((*path, "types", kind), columns)
    if table.kind == "delimited" and table.header is False and not table.columns:
        remedy = "Name them with columns, or take header = false away."
        yield Trouble((*path, "header"), "the columns have no names", "there is no title row, and no `columns`", remedy)
    if table.kind == "records" and table.head and table.head not in table.types:
        yield Trouble((*path, "head"), f"{table.head!r} is none of the record types", "", _one_of(table))
    yield from _separators(path, table)
    yield from _proof((*path, "proof"), table)
    if table.kind == "xml":
        yield from _unreachable((*path, "record"), table.record, _PATH)
        yield from _unreachable((*path, "root"), table.root, _NAME)
        for number, stocks in enumerate(table.stocks):
            yield from _unreachable((*path, "stocks", number, "each"), stocks.each, _BELOW)


def _separators(path: KeyPath, table: LayoutTable) -> Iterator[Trouble]:
    for key in ("delimiter", "quote"):
        if set(getattr(table, key)) & {"\r", "\n"}:
            yield Trouble(
                (*path, key), f"{key!r} is a line end", "lines are rows", "Write the character between columns."
            )
    if table.quote and len(table.delimiter) > 1:
        why = "rows with quoted values are cut at one character"
        yield Trouble(
            (*path, "delimiter"), "the delimiter is too long beside a quote", why, "Shorten it, or remove quote."
        )
    if table.quote and table.quote == table.delimiter:
        yield Trouble((*path, "quote"), "delimiter and quote are the same", "", "Correct one of the two.")


def _unreachable(path: KeyPath, names: str, form: re.Pattern[str]) -> Iterator[Trouble]:
    if names and not form.fullmatch(names):
        what = "is no name of an element" if form is _NAME else "is no path of elements"
        why = "it is made of local names or {uri}name: no prefixes, no conditions, nothing else"
        yield Trouble(path, f"{names!r} {what}", why, "Write Product, Products/Product or {uri}Product.")


def _twice(path: KeyPath, names: Iterable[str]) -> Iterator[Trouble]:
    for name, times in Counter(names).items():
        if times > 1:
            yield Trouble(path, f"{name!r} is named {times} times", "only the last would be read", "Rename the others.")


def _proof(path: KeyPath, table: LayoutTable) -> Iterator[Trouble]:
    proof = table.proof
    if proof is None:
        return
    if proof.trailer and table.kind == "xml":
        why = "XML is whole when its root is closed"
        yield Trouble((*path, "trailer"), "'trailer' means nothing to kind 'xml'", why, "Remove it.")
    elif not proof.trailer and not proof.count:
        yield Trouble(path, "the proof proves nothing", "", "Set trailer, count, or both.")
    elif proof.count and not proof.trailer and not table.lead and table.kind != "xml":
        why = "there is no line that declares it"
        remedy = "Set trailer to how the last line begins, or lead = 1 where the first line declares it."
        yield Trouble((*path, "count"), "'count' does nothing", why, remedy)


def troubles_of_stocks(path: KeyPath, table: LayoutTable) -> Iterator[Trouble]:
    """Stock values that would be read twice, or never."""
    if table.sum_by and any(one.each for one in table.stocks):
        why = "a sum is one record a SKU, and what stands inside its rows is not kept"
        yield Trouble((*path, "sum_by"), "sum_by does not go with stocks inside records", why, "Remove one of the two.")
    met: set[str] = set()
    for number, stocks in enumerate(table.stocks):
        at: KeyPath = (*path, "stocks", number)
        if stocks.each in met:
            whose = f"each = {stocks.each!r}" if stocks.each else "the record itself"
            yield Trouble(at, f"{whose} has a stock already", "a record has one stock", "Remove one of the two.")
        met.add(stocks.each)
        yield from _own(at, stocks, table)
        if table.kind == "records" and stocks.each and stocks.each not in table.types:
            yield Trouble((*at, "each"), f"{stocks.each!r} is none of the record types", "", _one_of(table))


def _own(path: KeyPath, stocks: StocksTable, table: LayoutTable) -> Iterator[Trouble]:
    """A record's own stock is named once: by the layout's keys, or by a table of `stocks` without `each`."""
    if stocks.each:
        return
    for key in ("sku", "stock"):
        if getattr(table, key) and getattr(stocks, key):
            why = f"the layout's own {key!r} says it for the same record"
            yield Trouble((*path, key), f"{key!r} stands twice", why, _DOES_NOTHING)


def _one_of(table: LayoutTable) -> str:
    return f"Use one of: {', '.join(table.types)}." if table.types else "Name the record types in `types`."
