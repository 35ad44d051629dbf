"""Golden cases: a folder each, a raw file and what it becomes, byte for byte; worked out by hand from the rule.

cases/NAME/raw.EXT        the received file
cases/NAME/expected.EXT   the delivered file; expected.1.EXT, expected.2.EXT … where it goes out in parts; none =
                          nothing to send; a layout with `buffer`: what it sets, as level,key,value
cases/NAME/refused.txt    instead: a piece of the error a line, its class first
cases/NAME/case.toml      layout (a preset, or a table as in [layout.NAME]), template (or its text), output, unique,
                          name, exported, [catalogue]; what is expected beside: names, [coverage], [belongs]
cases/NAME/buffers.csv    store,level,key,value
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon import resources
from cegid_daemon.config import layouts
from cegid_daemon.config.schema import LayoutTable
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite import rewrite
from cegid_daemon.rewrite.ports import Job, Rewritten
from cegid_daemon.rewrite.recipe import Layout, Output, Recipe, Templates
from cegid_daemon.rewrite.templates import freeze

CASES = Path(__file__).parent / "cases"
NOW = datetime(2026, 11, 23, 7, 42, tzinfo=UTC)


class DictBook:
    """The buffer book of one case."""

    def __init__(self, case: Mapping[str, Any], buffers: Sequence[Mapping[str, str]]) -> None:
        self._levels = {(row["level"], row["key"]): row["value"] for row in buffers}
        self._products: Mapping[str, str] = case.get("catalogue", {})
        self._exported = set(case.get("exported", ()))

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


class Part(io.BytesIO):
    """One delivered part."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__()
        self._parts = parts

    def close(self) -> None:
        if not self.closed:
            self._parts.append(self.getvalue())
        super().close()


def layout_of(table: str | dict[str, Any]) -> Layout:
    """The layout a case names, or tells as a table, as the configuration reads it."""
    own = {"extends": table} if isinstance(table, str) else table
    found, troubles = layouts.with_presets({"case": own}, ())
    checked = LayoutTable.model_validate(found["case"])
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


def recipe_of(case: Mapping[str, Any]) -> Recipe:
    """What the case is rewritten with."""
    check = "xml" if str(case.get("template", "")).endswith(".xml.j2") else "none"
    return Recipe(
        layout=layout_of(case["layout"]),
        templates=templates_of(case),
        output=Output(**{"check": check, **case.get("output", {})}),
        target_name=case.get("name", "{{ source.name }}"),
        unique=case.get("unique", ""),
    )


def rewritten(folder: Path, chunk: int) -> tuple[Rewritten, ListSink]:
    """Rewrites the raw file of a case, read in chunks of that many bytes."""
    case, raw = case_of(folder), next(folder.glob("raw.*"))
    job = Job(7, "Golden case", NOW, raw.name, "", "golden", "main", NOW)
    sink = ListSink()
    done = rewrite(recipe_of(case), job, lambda: chunks(raw.read_bytes(), chunk), DictBook(case, buffers(folder)), sink)
    return done, sink


def chunks(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def case_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "case.toml").read_text("utf-8"))


def buffers(folder: Path) -> list[dict[str, str]]:
    """The rows of a case's buffers.csv."""
    place = folder / "buffers.csv"
    return list(csv.DictReader(io.StringIO(place.read_text("utf-8")))) if place.exists() else []


def folders(refused: bool) -> list[Any]:
    every = sorted(folder for folder in CASES.iterdir() if folder.is_dir())
    return [pytest.param(one, id=one.name) for one in every if (one / "refused.txt").exists() == refused]


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("folder", folders(refused=False))
def test_the_raw_file_becomes_the_expected_one_to_the_byte(folder: Path, chunk: int) -> None:
    done, sink = rewritten(folder, chunk)
    case = case_of(folder)
    expected = [place.read_bytes() for place in sorted(folder.glob("expected.*"))]
    made = [feed(sink)] if sink.buffers else sink.parts
    assert [part.decode("utf-8", "backslashreplace") for part in made] == [
        part.decode("utf-8", "backslashreplace") for part in expected
    ]
    assert made == expected
    assert [len(part) for part in sink.parts] == [part.size for part in done.parts]
    assert case.get("names") in (None, [part.name for part in done.parts])
    assert case.get("belongs", {}).items() <= sink.products.items()


@pytest.mark.parametrize("folder", folders(refused=False))
def test_every_record_is_accounted_for(folder: Path) -> None:
    coverage = rewritten(folder, 1 << 20)[0].coverage
    assert coverage.explained
    for name, expected in case_of(folder).get("coverage", {}).items():
        assert getattr(coverage, name) == expected


@pytest.mark.parametrize("chunk", [7, 1 << 20])
@pytest.mark.parametrize("folder", folders(refused=True))
def test_a_bad_file_is_refused_and_the_error_says_where(folder: Path, chunk: int) -> None:
    with pytest.raises(CegidDaemonError) as caught:
        rewritten(folder, chunk)
    kind, *pieces = (folder / "refused.txt").read_text("utf-8").splitlines()
    assert type(caught.value).__name__ == kind
    assert [piece for piece in pieces if piece not in str(caught.value)] == [], str(caught.value)


def test_every_preset_and_every_template_has_a_golden_case() -> None:
    cases = [case_of(folder) for folder in CASES.iterdir() if folder.is_dir()]
    used = {case["layout"] for case in cases if isinstance(case["layout"], str)}
    assert set(resources.layout_presets()) <= used
    root = resources.templates()
    shipped = {place.relative_to(root).as_posix() for place in root.rglob("*.j2")}
    assert shipped == {case["template"] for case in cases if "template" in case}


def feed(sink: ListSink) -> bytes:
    """What a layout with `buffer` has set, as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("level", "key", "value"), *sink.buffers])
    return text.getvalue().encode()
