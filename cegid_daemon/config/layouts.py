"""Layouts: the shipped presets, own layouts that extend them, and the frozen `Layout` with its expressions tried.

Owns the way from a `[layout.NAME]` table to `rewrite.recipe.Layout`, and which keys mean something to which kind.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterator
from typing import Any

from cegid_daemon import resources
from cegid_daemon.config.faults import Trouble, closest
from cegid_daemon.config.layout_tables import LayoutTable
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite.expressions import compile_condition, compile_number, compile_text
from cegid_daemon.rewrite.recipe import Field, Layout, Proof, Stocks

Compiler = Callable[[str, Layout, Collection[str] | None], object]

_ONLY = {  # keys that mean something to some kinds only
    "delimiter": {"delimited", "records"},
    "quote": {"delimited", "records"},
    "header": {"delimited"},
    "columns": {"delimited"},
    "fields": {"fixed"},
    "head": {"fixed"},
    "types": {"records"},
    "lead": {"delimited", "fixed", "records"},
    "record": {"xml"},
    "root": {"xml"},
    "stocks": {"xml", "records"},
}
_NEEDED = {"fixed": "fields", "records": "types", "xml": "record"}


def with_presets(own: dict[str, Any], wanted: Collection[str]) -> tuple[dict[str, Any], list[Trouble]]:
    """The own layouts with `extends` filled in, and behind them the presets among `wanted`."""
    presets = resources.layout_presets()
    found = {name: tomllib.loads(presets[name].read_text("utf-8")) for name in wanted if name in presets}
    troubles: list[Trouble] = []
    for name, table in own.items():
        found[name] = table
        if isinstance(table, dict) and "extends" in table:
            found[name] = {key: value for key, value in table.items() if key != "extends"}
            base = table["extends"]
            if isinstance(base, str) and base in presets:
                found[name] = {**tomllib.loads(presets[base].read_text("utf-8")), **found[name]}
            else:
                remedy = closest(str(base), presets, f"Shipped layouts: {', '.join(presets)}.")
                troubles.append(
                    Trouble(("layout", name, "extends"), f"there is no shipped layout {base!r}", "", remedy)
                )
    return found, troubles


def frozen(name: str, table: LayoutTable) -> Layout:
    """The layout the core works with."""
    columns = tuple(table.columns)
    return Layout(
        name=name,
        kind=table.kind,
        encoding=table.encoding,
        delimiter=table.delimiter,
        quote=table.quote,
        header=not columns if table.header is None else table.header,
        columns=columns,
        decimal=table.decimal,
        fields=tuple(Field(one.name, one.at, one.width, one.trim) for one in table.fields),
        head=table.head,
        types=dict(table.types),
        record=table.record,
        root=table.root,
        skip=table.skip,
        sku=table.sku,
        product=table.product,
        stock=table.stock,
        stocks=tuple(Stocks(one.each, one.sku, one.stock) for one in table.stocks),
        sum_by=table.sum_by,
        delta=table.delta,
        proof=Proof(table.proof.trailer, table.proof.count) if table.proof else None,
        untrimmed=table.untrimmed,
        buffer=table.buffer,
        lead=table.lead,
        catalogue=table.catalogue,
    )


def troubles_in(name: str, table: LayoutTable) -> Iterator[Trouble]:
    """What is wrong with a layout whose keys are right one by one."""
    path: KeyPath = ("layout", name)
    for key in sorted(table.model_fields_set & _ONLY.keys()):
        if table.kind not in _ONLY[key]:
            kinds = " or ".join(sorted(_ONLY[key]))
            yield Trouble(
                (*path, key), f"{key!r} means nothing to kind {table.kind!r}", f"it is for {kinds}", "Remove it."
            )
    needed = _NEEDED.get(table.kind, "kind")
    if not getattr(table, needed):
        yield Trouble(path, f"kind {table.kind!r} needs {needed!r}", "", f"Set layout.{name}.{needed}.")
    if table.sum_by not in ("", "sku"):
        yield Trouble((*path, "sum_by"), "records are summed by SKU only", "", 'Write sum_by = "sku".')
    elif table.sum_by and not table.sku:
        yield Trouble((*path, "sum_by"), "sum_by needs a sku", "", f"Set layout.{name}.sku.")
    yield from _expression_troubles(path, frozen(name, table))


def expression_trouble(path: KeyPath, text: str, compiled: Compiler, layout: Layout) -> Iterator[Trouble]:
    """The fault of the expression at `path`, if compiling it finds one; a blank one has none."""
    try:
        if text:
            compiled(text, layout, _fields_of(layout))
    except CegidDaemonError as error:
        yield Trouble(path, error.what, error.why, error.remedy)


def _fields_of(layout: Layout) -> Collection[str] | None:
    """The fields a record can have, where the layout alone says so."""
    if layout.kind == "fixed":
        return [*(field.name for field in layout.fields), *(["@mark"] if layout.head else [])]
    return layout.columns if layout.columns and not layout.header else None


def _expression_troubles(path: KeyPath, layout: Layout) -> Iterator[Trouble]:
    for place, text, compiled in _expressions(layout):
        yield from expression_trouble((*path, *place), text, compiled, layout)


def _expressions(layout: Layout) -> Iterator[tuple[KeyPath, str, Compiler]]:
    yield ("sku",), layout.sku, compile_text
    yield ("product",), layout.product, compile_text
    yield ("buffer",), layout.buffer, compile_text
    yield ("stock",), layout.stock, compile_number
    yield ("proof", "count"), layout.proof.count if layout.proof else "", compile_number
    for number, text in enumerate(layout.skip):
        yield ("skip", number), text, compile_condition
    for number, stocks in enumerate(layout.stocks):
        yield ("stocks", number, "sku"), stocks.sku, compile_text
        yield ("stocks", number, "stock"), stocks.stock, compile_number
