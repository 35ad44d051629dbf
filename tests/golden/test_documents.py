"""What docs/layouts.md, docs/templates.md and samples/README.md promise is run, and compared with what they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from golden_bench import DictBook, levels_of, recipe_of, run
from lxml import etree

from cegid_daemon import config, resources
from cegid_daemon.config.layout_tables import LayoutTable
from cegid_daemon.errors import TemplateFault
from cegid_daemon.rewrite import words
from cegid_daemon.rewrite.expressions import compile_text
from cegid_daemon.rewrite.filters import FILTERS
from cegid_daemon.rewrite.recipe import Layout, Templates
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.templates import compile as compiled

DOCS = Path(__file__).parents[2] / "docs"
LAYOUTS = (DOCS / "layouts.md").read_text("utf-8")
TEMPLATES = (DOCS / "templates.md").read_text("utf-8")
SAMPLES = (resources.samples() / "README.md").read_text("utf-8")

_EXAMPLE = re.compile(r"<!-- example(?:: buffer (\d+))? -->\n" + r"```\w+\n(.*?)```\n" * 4, re.DOTALL)
_ROUTES = re.compile(r"```toml\n(.*?)```", re.DOTALL)
_AROUND = """
[store.main]
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
"""


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of the table whose first column has this title, without the marks of code."""
    body = text.partition(f"| {title} |")[2].split("\n\n", 1)[0]
    lines = [re.split(r"(?<!\\) *\| *", line.strip("| ")) for line in body.splitlines()[2:]]
    return [[cell.replace("\\|", "|").strip() for cell in line] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def examples() -> list[Any]:
    found = [*_EXAMPLE.findall(LAYOUTS), *_EXAMPLE.findall(TEMPLATES)]
    return [pytest.param(*one, id=f"example-{no}") for no, one in enumerate(found, 1)]


@pytest.mark.parametrize(("buffer", "layout", "raw", "template", "expected"), examples())
def test_an_example_gives_what_the_page_says(buffer: str, layout: str, raw: str, template: str, expected: str) -> None:
    recipe = recipe_of({"layout": tomllib.loads(layout), "text": template})
    sink = run(recipe, raw.encode(), DictBook({("store", ""): buffer}))[1]
    assert b"".join(sink.parts).decode() == expected


def test_no_example_is_overlooked() -> None:
    assert len(examples()) == LAYOUTS.count("<!-- example") + TEMPLATES.count("<!-- example")


@pytest.mark.parametrize(("expression", "fields", "expected"), rows(LAYOUTS, "expression"))
def test_an_expression_is_what_the_page_says(expression: str, fields: str, expected: str) -> None:
    record = Record(dict(re.findall(r"([A-Z][\w ]*?) `([^`]*)`", fields)))
    record.update(dict.fromkeys(re.findall(r"(\w) blank", fields), ""))
    found = compile_text(quoted(expression)[0], Layout("page", "delimited", decimal=","), record.keys())(record)
    means = {"blank": "", "yes": "True", "no": "False"}
    assert found == means.get(expected, expected.strip("`"))


@pytest.mark.parametrize(("template", "expected"), rows(TEMPLATES, "written"))
def test_a_filter_prints_what_the_page_says(template: str, expected: str) -> None:
    script = compiled(Templates("page.j2", {"page.j2": quoted(template)[0]}))
    if expected == "error":
        with pytest.raises(TemplateFault):
            list(script.render({}))
    else:
        assert "".join(script.render({})) == (quoted(expected) or [""])[0]


def test_the_pages_name_every_layout_template_filter_word_and_key() -> None:
    assert [quoted(row[0])[0] for row in rows(LAYOUTS, "name")] == [*_order_of(LAYOUTS, resources.layout_presets())]
    root = resources.templates()
    shipped = {place.relative_to(root).as_posix() for place in root.rglob("*.j2")}
    assert {quoted(row[0])[0] for row in rows(TEMPLATES, "template")} == shipped
    assert {name for name in FILTERS if f"- `{name}" in TEMPLATES} == FILTERS.keys()
    said = set(" ".join(LAYOUTS.partition("- Filters:")[2].partition("`r.each")[0].split()).replace("`", " ").split())
    assert words.FILTERS.keys() | words.METHODS.keys() | words.NUMBERS.keys() | words.EXTREMES.keys() <= said
    keys = {key for row in rows(LAYOUTS, "key") for key in quoted(row[0])}
    assert keys == LayoutTable.model_fields.keys()


def _order_of(text: str, names: Any) -> list[str]:
    return sorted(names, key=lambda name: text.index(f"| `{name}` |"))


def routes(page: str) -> list[str]:
    return [one for one in _ROUTES.findall(page) if "[route." in one and "source" in one]


@pytest.mark.parametrize("page", [LAYOUTS, TEMPLATES], ids=["layouts", "templates"])
def test_the_routes_of_the_pages_are_a_sound_configuration(page: str, tmp_path: Path) -> None:
    place = tmp_path / "cegid-daemon.toml"
    place.write_text(_AROUND + "\n".join(routes(page)), "utf-8")
    found = config.load(place)
    assert len(found.routes) == sum(one.count("[route.") for one in routes(page)) > 0


def sent(cell: str) -> str | None:
    """The number a cell of the samples' tables ends with; None: not sent."""
    if cell == "not sent":
        return None
    return "" if cell == "blank" else re.split(r"= |so ", cell)[-1]


def stocks_of(layout: str, template: str, raw: Path, levels: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """What is sent of a sample: stock by product and SKU, the SKU of a product's own stock is blank."""
    recipe = recipe_of({"layout": layout, "template": template})
    document = etree.fromstring(b"".join(run(recipe, raw.read_bytes(), DictBook(levels), name=raw.name)[1].parts))
    found = {}
    for stock in document.iter("Stock", "ProductStock", "VariationStock"):
        if len(stock) == 0:
            product = stock.xpath("string(ancestor-or-self::*/ProductReference)")
            sku = "" if stock.tag == "ProductStock" else stock.xpath("string(../VariationReference)")
            found[product, sku] = stock.text or ""
    return found


@pytest.mark.parametrize("imported", [False, True], ids=["store buffer 2", "with buffers.csv"])
@pytest.mark.parametrize(
    "row", [row for row in rows(SAMPLES, "file") if row[0].startswith(("`STOCK", "`PRODUCTS"))], ids=lambda row: row[0]
)
def test_a_stock_or_product_sample_ends_as_its_table_says(row: list[str], imported: bool) -> None:
    levels = {("store", ""): "2"}
    if imported:
        levels |= levels_of((resources.samples() / "buffers.csv").read_text("utf-8"))
    raw, layout, template = resources.samples() / quoted(row[0])[0], quoted(row[2])[0], quoted(row[3])[0]
    if "STOCK" in row[0]:
        table = {(product, sku): sent(cells[imported]) for sku, product, _, *cells in rows(SAMPLES, "SKU")}
    else:
        named = rows(SAMPLES, "article")
        table = {(p, "" if sku == "its own" else sku): sent(cells[imported]) for p, sku, _, *cells in named}
    expected = {key: number for key, number in table.items() if number is not None}
    assert stocks_of(layout, template, raw, levels) == expected
