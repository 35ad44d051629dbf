"""The shipped layouts and templates are sound, say what they are modelled on, and the big synthetic files fit them."""

import runpy
from pathlib import Path

import pytest

from cegid_daemon import config, resources
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.tally import Tally

NAMES = [
    "aurora-answer",
    "aurora-order-export",
    "aurora-product-fields",
    "cegid-products-xml",
    "cegid-stock-xml",
    "y2-order-status",
    "y2-products-csv",
    "y2-stock-asc",
    "y2-stock-csv",
    "y2-stock-tab",
]
TEMPLATES = sorted(resources.templates().rglob("*.j2"))
SYNTHESIS = Path(__file__).parents[2] / "benchmarks" / "synthesis.py"

_ROUTE = """
[route.{name}]
store = "main"
source = {{ endpoint = "inbox", folder = "{name}" }}
layout = "{name}"
"""
_TARGET = """
template = "aurora/inventory-import.xml.j2"
target = { endpoint = "outbox", folder = "out" }
"""
_AROUND = '[store.main]\n[endpoint.inbox]\nurl = "file:in"\n[endpoint.outbox]\nurl = "file:out"\n'


@pytest.fixture
def loaded(tmp_path):
    """Each preset as the configuration loads it; every fault of one would be raised here."""
    place = tmp_path / "cegid-daemon.toml"
    routes = [_ROUTE.format(name=name) + _target(name) for name in NAMES]
    place.write_text(_AROUND + "".join(routes), "utf-8")
    return {name: recipe.layout for name, recipe in config.load(place).recipes.items()}


def _target(name: str) -> str:
    return "" if name == "aurora-product-fields" else _TARGET.replace('"out"', f'"{name}"')


def test_the_presets_have_the_names_that_configurations_refer_to():
    assert sorted(resources.layout_presets()) == NAMES


def test_every_preset_is_a_layout_without_fault(loaded):
    assert {name: layout.name for name, layout in loaded.items()} == {name: name for name in NAMES}


def test_every_preset_finds_the_encoding_by_itself(loaded):
    assert {layout.encoding for layout in loaded.values()} == {"auto"}


def test_internal_ids_keep_their_blanks(loaded):
    assert "GA_ARTICLE" in loaded["y2-products-csv"].untrimmed
    assert "GQ_ARTICLE" in loaded["y2-stock-csv"].untrimmed


def test_only_the_product_fields_feed_the_buffer_book(loaded):
    assert [name for name, layout in loaded.items() if layout.buffer] == ["aurora-product-fields"]


def test_fields_of_the_fixed_preset_touch_and_never_overlap(loaded):
    ends = [6, *(field.at - 1 + field.width for field in loaded["y2-stock-asc"].fields)]
    assert [field.at - 1 for field in loaded["y2-stock-asc"].fields] == ends[:-1]


@pytest.mark.parametrize("place", [*resources.layout_presets().values(), *TEMPLATES], ids=lambda place: place.name)
def test_what_ships_says_what_it_is_modelled_on(place):
    head = " ".join(place.read_text("utf-8")[:900].lower().split())
    assert "modelled on" in head or "synthetic" in head or "names are taken from" in head


@pytest.mark.parametrize("place", [one for one in TEMPLATES if one.parent.name == "aurora"], ids=lambda one: one.name)
def test_no_token_is_written_into_a_file(place):
    assert "<AuthToken" not in place.read_text("utf-8")


@pytest.fixture(scope="module")
def synthesis():
    return runpy.run_path(str(SYNTHESIS))


def read(layout: Layout, place: Path) -> list[dict[str, str]]:
    return list(layouts.read(layout, lambda: iter([place.read_bytes()]), Tally()))


def test_a_synthetic_stock_xml_has_154_bytes_an_item_and_fits_its_layout(synthesis, loaded, tmp_path):
    place = tmp_path / "STOCK.xml"
    synthesis["stock_xml"](1000, place)
    found = read(loaded["cegid-stock-xml"], place)
    assert len(found) == len({record["Barcode"] for record in found}) == 1000
    assert sum(line.startswith("<Item>") and len(line) == 153 for line in place.read_text().splitlines()) == 1000


def test_a_synthetic_stock_csv_and_its_buffers_name_the_same_items(synthesis, loaded, tmp_path):
    synthesis["stock_csv"](50, tmp_path / "STOCK.csv")
    synthesis["buffers_csv"](50, tmp_path / "buffers.csv")
    skus = [record["GA_CODEBARRE"] for record in read(loaded["y2-stock-csv"], tmp_path / "STOCK.csv")]
    assert [line.split(",")[2] for line in (tmp_path / "buffers.csv").read_text().splitlines()[1:]] == skus


def test_small_synthetic_files_hold_forty_rows_and_differ(synthesis, loaded, tmp_path):
    synthesis["files"](3, tmp_path)
    places = sorted(tmp_path.glob("STOCK*.csv"))
    assert [len(read(loaded["y2-stock-csv"], place)) for place in places] == [40, 40, 40]
    assert len({place.read_bytes() for place in places}) == 3
