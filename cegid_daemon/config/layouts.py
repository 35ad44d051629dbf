"""Layouts: the shipped presets, own layouts that extend them, and the frozen `Layout` with its expressions tried.

Owns the way from a `[layout.NAME]` table to `rewrite.recipe.Layout`, and which keys mean something to which kind. What
keys say together is looked at in `geometry`, expressions in `expressions`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator
from typing import Any

from cegid_daemon import resources
from cegid_daemon.config.expressions import troubles_of_expressions
from cegid_daemon.config.faults import Trouble, closest
from cegid_daemon.config.geometry import troubles_of_geometry, troubles_of_stocks
from cegid_daemon.config.layout_tables import LayoutTable
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.rewrite.recipe import Field, Layout, Proof, Stocks

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
    "text": {"xml"},
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
        text=table.text,
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
    yield from troubles_of_geometry(path, table)
    yield from troubles_of_stocks(path, table)
    yield from troubles_of_expressions(path, frozen(name, table))
