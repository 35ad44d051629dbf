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

import tomllib
from pathlib import Path
from typing import Any

import pytest
from golden_bench import WHOLE, DictBook, ListSink, levels_of, recipe_of, run

from cegid_daemon import resources
from cegid_daemon.errors import CegidDaemonError
from cegid_daemon.rewrite.ports import Rewritten

CASES = Path(__file__).parent / "cases"

REQUESTS = {"aurora/order-get.xml.j2", "aurora/report-get.xml.j2"}  # what an API is asked with, not a rewriting


def rewritten(folder: Path, chunk: int) -> tuple[Rewritten, ListSink]:
    """Rewrites the raw file of a case."""
    case, raw = case_of(folder), next(folder.glob("raw.*"))
    buffers = folder / "buffers.csv"
    levels = levels_of(buffers.read_text("utf-8")) if buffers.exists() else {}
    book = DictBook(levels, case.get("catalogue"), case.get("exported", ()))
    return run(recipe_of(case), raw.read_bytes(), book, name=raw.name, chunk=chunk)


def case_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "case.toml").read_text("utf-8"))


def folders(refused: bool) -> list[Any]:
    every = sorted(folder for folder in CASES.iterdir() if folder.is_dir())
    return [pytest.param(one, id=one.name) for one in every if (one / "refused.txt").exists() == refused]


def readable(parts: list[bytes]) -> list[str]:
    return [part.decode("utf-8", "backslashreplace") for part in parts]


@pytest.mark.parametrize("chunk", [7, WHOLE])
@pytest.mark.parametrize("folder", folders(refused=False))
def test_the_raw_file_becomes_the_expected_one_to_the_byte(folder: Path, chunk: int) -> None:
    done, sink = rewritten(folder, chunk)
    case = case_of(folder)
    expected = [place.read_bytes() for place in sorted(folder.glob("expected.*"))]
    made = [sink.feed()] if sink.buffers else sink.parts
    assert readable(made) == readable(expected)
    assert made == expected
    assert [len(part) for part in sink.parts] == [part.size for part in done.parts]
    assert case.get("names") in (None, [part.name for part in done.parts])
    assert case.get("belongs", {}).items() <= sink.products.items()


@pytest.mark.parametrize("folder", folders(refused=False))
def test_every_record_is_accounted_for(folder: Path) -> None:
    coverage = rewritten(folder, WHOLE)[0].coverage
    assert coverage.explained
    for name, expected in case_of(folder).get("coverage", {}).items():
        assert getattr(coverage, name) == expected


@pytest.mark.parametrize("chunk", [7, WHOLE])
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
    assert shipped - REQUESTS == {case["template"] for case in cases if "template" in case}
