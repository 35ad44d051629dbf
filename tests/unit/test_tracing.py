"""The account of each record: its fields, what a buffer made of it, what was printed, why it was left out."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cegid_daemon.rewrite.recipe import Layout, Recipe, Stocks, Templates
from cegid_daemon.rewrite.tracing import Look, trace

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STOCK = Layout("stock", "delimited", sku="r.SKU", stock="r.A - r.B", skip=("r.CLOSED == 'X'",))
LIST = "{% for r in records %}\n<U><R>{{ r.sku }}</R><S>{{ r.stock }}</S><N>{{ loop.index }}</N></U>\n{% endfor %}"
FILE = "SKU;A;B;CLOSED\nA1;10;1;\nA2;3;;\nA3;5;0;X\n;7;0;\nA5;;;\n"


class Book:
    def store_buffer(self) -> str:
        return "2"

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:
        return {"A2": "0"} if "A2" in skus else {}

    def products(self, products: Collection[str]) -> Mapping[str, str]:
        return {}

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:
        return {}

    def exported(self, keys: Sequence[str]) -> Collection[str]:
        return {"A1"} & set(keys)


class Kept:
    def __init__(self) -> None:
        self.bytes = io.BytesIO()

    def part(self, no: int) -> Any:
        return self

    def write(self, chunk: bytes) -> None:
        self.bytes.write(chunk)

    def close(self) -> None:
        """Nothing."""

    def belongs(self, sku: str, product: str) -> None:
        """Nobody is told."""

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        """Nothing is set."""


def account(
    text: str = FILE,
    *,
    layout: Layout = STOCK,
    template: str = LIST,
    unique: str = "",
    name: str = "t.xml.j2",
    **look: Any,
) -> dict[str, Any]:
    kept = Kept()
    recipe = Recipe(layout, Templates(name, {name: template}) if template else None, unique=unique)
    job = Look(1, "Stock", NOON, "S.csv", "in", "stock", "main", NOON, **look)
    trace(recipe, job, lambda: [text.encode()], Book(), kept)
    told: dict[str, Any] = json.loads(kept.bytes.getvalue())
    return told


@pytest.mark.parametrize(
    ("unique", "reason"),
    [
        ("", "not used by the template"),
        ("r.SKU", "delivered before, repeated in this file, or not used by the template"),
    ],
)
def test_only_a_route_with_unique_may_have_delivered_a_record_before(unique: str, reason: str) -> None:
    told = account(template="none of them", unique=unique, layout=replace(STOCK, skip=()), name="t.txt.j2")
    assert {record["left_out"] for record in told["records"]} - {"no key"} == {reason}


def test_every_record_is_there_with_its_fields_values_and_piece():
    told = account()
    first, second = told["records"][:2]
    assert first["fields"] == {"SKU": "A1", "A": "10", "B": "1", "CLOSED": ""}
    assert first["values"] == [
        {"sku": "A1", "product": "", "raw_stock": "9", "stock": "7", "buffer": "2", "buffer_level": "Store"}
    ]
    assert first["piece"] == "<U><R>A1</R><S>7</S><N>1</N></U>"
    assert second["values"][0]["buffer_level"] == "Variation"
    assert (told["whole"], told["pieces"], told["fault"]) == (True, True, "")


def test_a_record_that_was_not_sent_says_why():
    told = account()
    assert [record["left_out"] for record in told["records"]] == ["", "", "r.CLOSED == 'X'", "no key", ""]
    assert [record["key"] for record in told["records"]] == ["A1", "A2", "A3", "", "A5"]


def test_a_title_row_in_the_data_is_left_out_and_not_the_record_before_it():
    text = "SKU;A;B;CLOSED\nA1;10;1;\nSKU;A;B;CLOSED\nA5;;;\n"
    for look in ({}, {"first": 2, "count": 1}):
        rows = [(one["number"], one["line"], one["left_out"]) for one in account(text, **look)["records"]]
        assert rows == [(1, 2, ""), (2, 3, "title row repeated"), (3, 4, "")][slice(*((1, 2) if look else (0, 3)))]
    assert [one["left_out"] for one in account(text, key="CLOSED")["records"]] == ["title row repeated"]


def test_records_that_were_delivered_before_say_so():
    assert "delivered before" in account("SKU;A;B;CLOSED\nA1;1;0;\n", unique="r.SKU")["records"][0]["left_out"]


def test_a_window_of_a_large_file_is_read_no_further_than_needed():
    text = "SKU;A;B;CLOSED\n" + "".join(f"K{number};9;0;\n" for number in range(1, 5_001))
    told = account(text, first=11, count=5)
    assert [record["key"] for record in told["records"]] == ["K11", "K12", "K13", "K14", "K15"]
    assert told["records"][4]["piece"] == "<U><R>K15</R><S>7</S><N>15</N></U>"
    assert (told["whole"], told["pieces"], told["fault"]) == (False, True, "")


def test_records_are_found_by_any_value():
    assert [record["number"] for record in account(key="A2")["records"]] == [2]
    assert [record["number"] for record in account(key="7")["records"]] == [4]
    assert account(key="nothing")["records"] == []


def test_a_file_that_fails_shows_the_records_before_the_fault_and_the_fault():
    told = account("SKU;A;B;CLOSED\nA1;1;0;\nA2;many;0;\n")
    assert "many" in told["fault"]
    assert [record["key"] for record in told["records"]] == ["A1", "A2"]


@pytest.mark.parametrize("ahead", ["loop.last", "loop.nextitem", "loop . length", "loop.revindex0"])
def test_output_of_a_template_that_reads_ahead_is_not_told_apart(ahead):
    told = account(template="{% for r in records %}{{ r.sku }}{{ " + ahead + " is defined }}{% endfor %}")
    assert told["pieces"] is False
    assert all(record["piece"] == "" for record in told["records"])
    assert told["records"][0]["values"]


def test_what_stands_inside_an_xml_record_is_shown_with_its_path():
    layout = Layout("p", "xml", record="P", product="r.C", stocks=(Stocks("V/V", "r.B", "r.S"),))
    text = "<F><P a='1'><C>P1</C><V><V><B>A2</B><S>5</S></V><V><B>A9</B><S>1</S></V></V></P></F>"
    told = account(text, layout=layout, template="{% for r in records %}{{ r.C }}{% endfor %}")
    record = told["records"][0]
    assert record["fields"] == {"@a": "1", "C": "P1", "V/V/B": "A2", "V/V/S": "5", "V/V[2]/B": "A9", "V/V[2]/S": "1"}
    assert [(one["sku"], one["stock"], one["buffer_level"]) for one in record["values"]] == [
        ("A2", "5", "Variation"),
        ("A9", "0", "Store"),
    ]


def test_a_layout_that_feeds_the_book_shows_what_it_sets():
    layout = Layout("f", "delimited", sku="r.SKU", buffer="r.A")
    told = account("SKU;A\nA1;4\nA2;\n", layout=layout, template="")
    assert [record["piece"] for record in told["records"]] == ["variation A1: 4", "variation A2:"]


def test_a_record_that_was_read_ahead_is_followed_to_its_end_before_the_look_is():
    text = "SKU;A;B;CLOSED\n" + "".join(f"S{number};{number};;\n" for number in range(5_000))
    told = account(text, key="S300", count=1)
    assert not told["whole"]
    assert [(one["key"], one["left_out"]) for one in told["records"]] == [("S300", "")]
    assert "<S>298</S>" in told["records"][0]["piece"]


TEXT = "t.txt.j2"
OPEN = "SKU;A;B;CLOSED\nA1;10;0;N\nA5;20;0;Y\nA6;30;0;N\n"
LATER = (
    "{% set n = namespace(l=[]) %}{% for r in records if r.CLOSED == 'N' %}{% set n.l = n.l + [r.sku] %}{% endfor %}"
    "{% for s in n.l %}<{{ s }}>{% endfor %}"
)


@pytest.mark.parametrize(
    "template", ["{% for r in records if r.CLOSED == 'N' %}{{ r.sku }}={{ r.stock }};{% endfor %}", LATER]
)
def test_a_record_the_template_does_not_print_is_told_apart(template):
    told = account(OPEN, template=template, name=TEXT)
    assert [record["left_out"] for record in told["records"]] == ["", "not printed by the template", ""]
    assert told["records"][1]["piece"].strip() == ""
    assert [len(record["values"]) for record in told["records"]] == [1, 0, 1]  # no number that it never had


def test_what_is_printed_after_all_were_read_belongs_to_its_record():
    assert [record["piece"] for record in account(OPEN, template=LATER, name=TEXT)["records"]] == ["A1", "", "A6"]


def test_a_record_that_is_only_in_a_total_is_told_apart():
    template = "{% set n = namespace(t=0) %}{% for r in records %}{% set n.t = n.t + r.stock %}{% endfor %}{{ n.t }}"
    told = account(OPEN, template=template, name=TEXT)
    assert {record["left_out"] for record in told["records"]} == {"summed by the template"}


def test_a_template_that_prints_later_is_followed_to_the_end_of_the_file():
    rows = "SKU;A;B;CLOSED\n" + "".join(f"K{number};9;0;{'YN'[number % 2]}\n" for number in range(1, 301))
    told = account(rows, template=LATER, name=TEXT, first=11, count=3)
    assert [record["left_out"] for record in told["records"]] == ["", "not printed by the template", ""]
    assert told["whole"] is True


def test_a_filter_template_is_read_no_further_than_its_window():
    rows = "SKU;A;B;CLOSED\n" + "".join(f"K{number};9;0;{'YN'[number % 2]}\n" for number in range(1, 5_001))
    template = "{% for r in records %}{% if r.CLOSED == 'N' %}{{ r.sku }}{% endif %}{% endfor %}"
    told = account(rows, template=template, name=TEXT, first=11, count=3)
    assert [record["left_out"] for record in told["records"]] == ["", "not printed by the template", ""]
    assert told["whole"] is False
