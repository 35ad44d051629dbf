"""The bench golden cases and documented examples are run on: the pure core, with a book and a sink in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cegid_daemon import resources
from cegid_daemon.config import layouts
from cegid_daemon.config.layout_tables import LayoutTable
from cegid_daemon.config.values import Surroundings
from cegid_daemon.rewrite import rewrite
from cegid_daemon.rewrite.ports import Job, Rewritten
from cegid_daemon.rewrite.recipe import Layout, Output, Recipe, Templates
from cegid_daemon.rewrite.templates import freeze

NOW = datetime(2026, 11, 23, 7, 42, tzinfo=UTC)
WHOLE = 1 << 20  # a chunk that holds any file of these


class DictBook:
    """A buffer book; `levels` by level and key, the store's key is blank."""

    def __init__(
        self,
        levels: Mapping[tuple[str, str], str],
        products: Mapping[str, str] | None = None,
        exported: Collection[str] = (),
    ) -> None:
        self._levels = levels
        self._products = products or {}
        self._exported = set(exported)

    def store_buffer(self) -> str | None:
        return self._levels.get(("store", ""))

    def variations(self, skus: Sequence[str]) -> dict[str, str]:
        return self._of("variation", skus)

    def products(self, products: Collection[str]) -> dict[str, str]:
        return self._of("product", products)

    def catalogue(self, skus: Sequence[str]) -> dict[str, str]:
        return {sku: self._products[sku] for sku in skus if sku in self._products}

    def exported(self, keys: Sequence[str]) -> set[str]:
        return self._exported.intersection(keys)

    def _of(self, level: str, keys: Collection[str]) -> dict[str, str]:
        return {key: self._levels[level, key] for key in keys if (level, key) in self._levels}


class ListSink:
    """Keeps what a rewriting makes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.products: dict[str, str] = {}
        self.buffers: list[tuple[str, str, str]] = []

    def part(self, no: int) -> Part:
        assert no == len(self.parts) + 1
        return Part(self.parts)

    def belongs(self, sku: str, product: str) -> None:
        self.products[sku] = product

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        assert line > 0
        self.buffers.append((level, key, value))

    def feed(self) -> bytes:
        """What a layout with `buffer` has set, as CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("level", "key", "value"), *self.buffers])
        return text.getvalue().encode()


class Part(io.BytesIO):
    """One delivered part."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__()
        self._parts = parts

    def close(self) -> None:
        if not self.closed:
            self._parts.append(self.getvalue())
        super().close()


def run(
    recipe: Recipe, raw: bytes, book: DictBook, *, name: str = "raw.csv", chunk: int = WHOLE
) -> tuple[Rewritten, ListSink]:
    """Rewrites `raw`, read in chunks of that many bytes."""
    job = Job(7, "Golden case", NOW, name, "", "golden", "main", NOW)
    sink = ListSink()
    return rewrite(recipe, job, lambda: chunks(raw, chunk), book, sink), sink


def chunks(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def recipe_of(case: Mapping[str, Any]) -> Recipe:
    """What a case is rewritten with: its keys `layout`, `template` or `text`, `output`, `unique`, `name`."""
    check = "xml" if str(case.get("template", "")).endswith(".xml.j2") else "none"
    return Recipe(
        layout=layout_of(case["layout"]),
        templates=templates_of(case),
        output=Output(**{"check": check, **case.get("output", {})}),
        target_name=case.get("name", "{{ source.name }}"),
        unique=case.get("unique", ""),
    )


def layout_of(table: str | dict[str, Any]) -> Layout:
    """The layout a case names, or tells as a table, as the configuration reads it."""
    own = {"extends": table} if isinstance(table, str) else table
    found, troubles = layouts.with_presets({"case": own}, ())
    around = Surroundings(Path(), {}, True, {}, shipped_template)
    checked = LayoutTable.model_validate(found["case"], context=around)
    assert not [*troubles, *layouts.troubles_in("case", checked)]
    return layouts.frozen("case", checked)


def templates_of(case: Mapping[str, Any]) -> Templates | None:
    """The shipped template a case names, or the one it brings."""
    if "text" in case:
        return Templates("case.j2", {"case.j2": case["text"]})
    return freeze(case["template"], shipped_template) if "template" in case else None


def shipped_template(name: str) -> str | None:
    """The text of a shipped template."""
    place = resources.templates() / name
    return place.read_text("utf-8") if place.is_file() else None


def levels_of(text: str) -> dict[tuple[str, str], str]:
    """The buffers of a CSV with the columns store, level, key, value."""
    return {(row["level"], row["key"]): row["value"] for row in csv.DictReader(io.StringIO(text))}
