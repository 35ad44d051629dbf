"""The expressions of layouts and routes, tried before any file comes.

Owns which fields each of them may read, as far as the layout alone says so. Never runs one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from cegid_daemon.config.faults import Trouble
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite.expressions import compile_condition, compile_number, compile_text, reaches_parent
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import COMPUTED

Compiler = Callable[[str, Layout, Collection[str] | None], object]
Fields = Collection[str] | None
"""The fields there are; None = only the file tells."""


def troubles_of_expressions(path: KeyPath, layout: Layout) -> Iterator[Trouble]:
    """What is wrong with the expressions of the layout at `path`."""
    for place, text, compiled in _of_records(layout):
        yield from _outside((*path, *place), text, compiled, layout, _fields_of(layout))
    if layout.proof:
        # the line that declares the count is no record: its columns are numbered, and `text` is all of it
        yield from _outside((*path, "proof", "count"), layout.proof.count, compile_number, layout, None)
    for number, stocks in enumerate(layout.stocks):
        at: KeyPath = (*path, "stocks", number)
        tried = _tried if stocks.each else _outside
        fields = layout.types.get(stocks.each) if stocks.each else _fields_of(layout)
        yield from tried((*at, "sku"), stocks.sku, compile_text, layout, fields)
        yield from tried((*at, "stock"), stocks.stock, compile_number, layout, fields)


def troubles_of_unique(path: KeyPath, text: str, layout: Layout) -> Iterator[Trouble]:
    """What is wrong with the key expression of a route's source."""
    fields = _fields_of(layout)
    if fields is not None:
        fields = [*fields, *COMPUTED]  # the record has them by then
    yield from _outside(path, text, compile_text, layout, fields)


def _of_records(layout: Layout) -> Iterator[tuple[KeyPath, str, Compiler]]:
    yield ("sku",), layout.sku, compile_text
    yield ("product",), layout.product, compile_text
    yield ("buffer",), layout.buffer, compile_text
    yield ("stock",), layout.stock, compile_number
    for number, text in enumerate(layout.skip):
        yield ("skip", number), text, compile_condition


def _fields_of(layout: Layout) -> Fields:
    """The fields a record can have, where the layout alone says so."""
    if layout.kind == "fixed":
        return [*(field.name for field in layout.fields), *(["@mark"] if layout.head else [])]
    if layout.kind == "records":
        return layout.types.get(layout.head or next(iter(layout.types), ""))
    return layout.columns if layout.columns else None


def _tried(path: KeyPath, text: str, compiled: Compiler, layout: Layout, fields: Fields) -> Iterator[Trouble]:
    """The fault of the expression at `path`, if compiling it finds one; a blank one has none."""
    try:
        if text:
            compiled(text, layout, fields)
    except CegidDaemonError as error:
        yield Trouble(path, error.what, error.why, error.remedy)


def _outside(path: KeyPath, text: str, compiled: Compiler, layout: Layout, fields: Fields) -> Iterator[Trouble]:
    """The same of an expression over a record that stands in no other."""
    found = list(_tried(path, text, compiled, layout, fields))
    yield from found
    if text and not found and reaches_parent(text, layout):
        remedy = "Use it in a [[layout.NAME.stocks]] that has `each`."
        yield Trouble(path, "r.parent is of no use here", "the record stands inside no other", remedy)
