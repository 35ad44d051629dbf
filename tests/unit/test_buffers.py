"""The stock buffer rule: the truth table, the levels, and its way over records."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite import buffers, layouts, sums
from cegid_daemon.rewrite.keys import Keys
from cegid_daemon.rewrite.recipe import Layout, Stocks
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

CASES = Path(__file__).parents[1] / "cases" / "buffers.csv"


@dataclass
class FakeBook:
    """A buffer book in dicts, which holds callers to 1,000 keys a call."""

    store: str | None = None
    by_sku: Mapping[str, str] = field(default_factory=dict)
    by_product: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)

    def store_buffer(self) -> str | None:
        return self.store

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:
        return self._of(self.by_sku, skus)

    def products(self, products: Collection[str]) -> Mapping[str, str]:
        return self._of(self.by_product, products)

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:
        return self._of(self.members, skus)

    def exported(self, keys: Sequence[str]) -> Collection[str]:
        return ()

    def _of(self, known: Mapping[str, str], keys: Collection[str]) -> Mapping[str, str]:
        assert 0 < len(keys) <= 1000
        self.calls.append(len(keys))
        return {key: known[key] for key in keys if key in known}


STOCK = Layout("stock", "delimited", decimal=",", sku="r.SKU", product="r.PROD", stock="r.QTE")


def rows(*found: tuple[str, str, str]) -> list[Record]:
    return [record(number, SKU=sku, PROD=product, QTE=stock) for number, (sku, product, stock) in enumerate(found, 1)]


def record(number: int, **fields: str) -> Record:
    made = Record(fields)
    made.number, made.line = number, number + 1
    return made


def settled(
    records: Iterable[Record], book: FakeBook, layout: Layout = STOCK, tally: Tally | None = None, **more: Any
) -> list[Record]:
    tally = tally or Tally()
    return list(buffers.stocked(Keys(layout, tally).blocks(records), layout, book, tally, **more))


def cases() -> list[dict[str, str]]:
    with CASES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("case", cases(), ids=lambda case: "|".join(case.values()))
def test_the_truth_table(case: dict[str, str]) -> None:
    book = FakeBook(case["store"], {"S": case["variation"]}, {"P": case["product"]})
    (r,) = settled(rows(("S", "P", case["stock"])), book)
    assert str(r["stock"]) == case["expected"].replace(",", ".").replace(".000", "").removesuffix("00")
    assert r["buffer_level"] == case["level"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("7", 7), ("007", 7), (" 3 ", 3), ("\t3\u00a0", 3), ("", None), (" ", None), ("-1", None), ("+2", None),
     ("2.0", None), ("2,0", None), ("abc", None), ("٣", None), ("1e1", None), ("3\n", None), ("1 0", None),
     ("²", None)],
)  # fmt: skip
def test_what_a_typed_text_defines(text: str, value: int | None) -> None:
    assert buffers.parse(text) == value


def test_an_absurdly_long_buffer_holds_back_everything() -> None:
    assert buffers.apply(Decimal("9" * 100), buffers.parse("9" * 10_000)) == 0


def test_a_blank_sku_with_a_product_is_the_products_own_stock() -> None:
    book = FakeBook("1", {"": "9"}, {"P": "3"})
    assert [(r["stock"], r["buffer_level"]) for r in settled(rows(("", "P", "10"), ("", "Q", "10")), book)] == [
        (7, "Product"),
        (9, "Store"),
    ]


def test_without_any_key_a_record_is_left_out() -> None:
    tally = Tally()
    assert settled(rows((" ", "\u00a0", "10")), FakeBook("1"), tally=tally) == []
    assert tally.left_out == {"no key": 1}


def test_a_product_named_in_the_file_beats_the_catalogue() -> None:
    book = FakeBook(None, {}, {"FILE": "1", "BOOK": "5"}, {"S": "BOOK"})
    found = settled(rows(("S", "FILE", "10"), ("S", "", "10")), book)
    assert [r["stock"] for r in found] == [9, 5]


def test_keys_compare_as_exact_text_after_trimming() -> None:
    book = FakeBook(None, {"007": "1"})
    found = settled(rows((" 007 ", "", "10"), ("7", "", "10"), ("007", "", "10")), book)
    assert [r["stock"] for r in found] == [9, 10, 9]
    assert found[0]["sku"] == "007"


def test_a_movement_is_never_buffered() -> None:
    (r,) = settled(rows(("S", "P", "-4,5")), FakeBook("2", {"S": "1"}), Layout(**{**_as_dict(STOCK), "delta": True}))
    assert (str(r["stock"]), r["buffer"], r["buffer_level"]) == ("-4.5", "", "None")


def test_names_the_layout_does_not_name_are_not_set() -> None:
    layout = Layout("x", "delimited", sku="r.SKU")
    (r,) = settled([record(1, SKU="A", stock="field")], FakeBook("2"), layout)
    assert dict(r) == {"SKU": "A", "stock": "field", "sku": "A"}


def test_computed_names_win_over_fields_and_the_field_stays_in_raw() -> None:
    layout = Layout("x", "delimited", sku="r.sku", stock="r.stock")
    (r,) = settled([record(1, sku=" A ", stock="5")], FakeBook("2"), layout)
    assert (r["sku"], r["stock"], r.raw["sku"], r.raw["stock"]) == ("A", 3, " A ", "5")


def test_a_layout_without_keys_passes_records_as_they_are() -> None:
    orders = [record(1, OrderID="1")]
    assert settled(orders, FakeBook("2"), Layout("orders", "delimited")) == orders


def test_each_skip_expression_is_a_reason_of_its_own() -> None:
    layout = Layout("x", "delimited", sku="r.SKU", skip=("r.CLOSED == 'X'", "r.DEPOT not in ['001']"))
    tally = Tally(read=4)
    found = [("1", "X", "001"), ("2", "-", "002"), ("3", "X", "002"), ("4", "-", "001")]
    records = [record(n, SKU=sku, CLOSED=closed, DEPOT=depot) for n, (sku, closed, depot) in enumerate(found)]
    assert [r["sku"] for r in settled(records, FakeBook(), layout, tally)] == ["4"]
    assert tally.left_out == {"r.CLOSED == 'X'": 2, "r.DEPOT not in ['001']": 1}
    tally.sent = 1
    assert tally.coverage().explained


def test_a_missing_column_fails_at_the_title_row() -> None:
    with pytest.raises(BadInput) as caught:
        settled([record(1, SKU="A")], FakeBook())
    assert (caught.value.where.line, caught.value.where.field) == (1, "PROD")


def test_lookups_go_in_blocks_of_a_thousand_keys() -> None:
    book = FakeBook(None, {}, {"P": "1"}, {str(n): "P" for n in range(2500)})
    found = settled(rows(*((str(n), "", "5") for n in range(2500))), book)
    assert {r["stock"] for r in found} == {4}
    assert max(book.calls) == 1000


# Sums


def test_stock_is_summed_over_the_rows_of_a_sku_before_the_buffer() -> None:
    layout = _summing()
    tally = Tally()
    found = settled(rows(("A", "P", "1,5"), ("B", "P", ""), ("A", "P", "2"), ("", "P", "9"), ("B", "P", "")),
                    FakeBook("1"), layout, tally)  # fmt: skip
    assert [(r["sku"], str(r["raw_stock"]), str(r["stock"])) for r in found] == [
        ("A", "3.5", "2.5"),
        ("B", "", ""),
        ("", "9", "8"),
    ]
    assert tally.left_out == {"summed into one record": 2}


def test_sums_over_more_keys_than_memory_holds_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "KEPT", 7)
    tally = Tally()
    found = settled(rows(*((f"S{n % 500}", "", "1,5") for n in range(2000))), FakeBook("1"), _summing(), tally)
    assert {r["sku"]: r["stock"] for r in found} == {f"S{n}": 5 for n in range(500)}
    assert tally.left_out["summed into one record"] == 1500
    assert found[0].line == 2


def test_sum_by_knows_only_sku_and_product() -> None:
    with pytest.raises(ConfigurationError, match="cannot sum by"):
        settled(rows(("A", "P", "1")), FakeBook(), _summing("r.SKU"))


def _as_dict(layout: Layout) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in layout.__dataclass_fields__}


def _summing(by: str = "sku") -> Layout:
    return Layout(**{**_as_dict(STOCK), "sum_by": by})


# Stock inside records

NESTED = Layout("products", "xml", record="Product", product="r.Code", stock="r.Stock",
                stocks=(Stocks("Variations/Variation", "r.Barcode", "r.Stock"),))  # fmt: skip
DOCUMENT = b"""<Products>
<Product><Code>P1</Code><Stock>20</Stock><Variations>
  <Variation default_only="1"><Barcode>001</Barcode><Stock>12</Stock></Variation>
  <Variation><Barcode>002</Barcode><Stock>8</Stock></Variation>
  <Variation><Barcode/><Stock>5</Stock></Variation>
</Variations></Product>
<Product><Code>P2</Code><Variations/></Product>
<Product><Code/><Stock>4</Stock></Product>
</Products>"""


def nested(book: FakeBook, tally: Tally, **more: Any) -> list[Record]:
    return settled(layouts.read(NESTED, lambda: [DOCUMENT], tally), book, NESTED, tally, **more)


def test_each_stock_value_of_a_product_gets_its_own_buffer() -> None:
    book, tally = FakeBook("1", {"001": "5"}, {"P1": "3"}), Tally()
    first, second = nested(book, tally)
    assert (first["product"], first["stock"], first["buffer_level"]) == ("P1", 17, "Product")
    inner = first.each("Variations/Variation")
    assert [(v["sku"], v["stock"], v["buffer_level"]) for v in inner] == [
        ("001", 7, "Variation"),
        ("002", 5, "Product"),
        ("", 2, "Product"),
    ]
    assert inner[0]["@default_only"] == "1"
    assert inner[0].parent is first
    assert (second["stock"], second["buffer_level"]) == ("", "None")
    assert tally.left_out == {"no key": 1}


def test_an_inner_stock_without_any_key_is_not_shown_and_noted() -> None:
    layout = Layout("x", "xml", record="P", stocks=(Stocks("V", "r.S", "r.Q"),))
    document = b"<F><P><V><S>1</S><Q>2</Q></V><V><Q>3</Q></V></P></F>"
    tally = Tally()
    (r,) = settled(layouts.read(layout, lambda: [document], tally), FakeBook("1"), layout, tally)
    assert [v["stock"] for v in r.each("V")] == [1]
    assert tally.notes == {"no key: V": 1}


def test_a_product_file_tells_the_catalogue_what_it_does_not_know() -> None:
    told: list[tuple[str, str]] = []
    nested(FakeBook(None, {}, {}, {"001": "P1", "002": "OLD"}), Tally(), belongs=lambda *pair: told.append(pair))
    assert told == [("002", "P1")]


def test_a_stock_file_tells_the_catalogue_only_where_the_layout_says_so() -> None:
    told: list[tuple[str, str]] = []
    found = rows(("S", "P", "1"))
    settled(found, FakeBook(), STOCK, belongs=lambda *pair: told.append(pair))
    assert told == []
    settled(found, FakeBook(), Layout(**{**_as_dict(STOCK), "catalogue": True}), belongs=lambda *p: told.append(p))
    assert told == [("S", "P")]


def test_a_field_file_feeds_the_buffer_book() -> None:
    layout = Layout("fields", "delimited", sku="r.Ref", product="r.Group", buffer="r.Buffer")
    found = [("V1", "G1", " 2 "), ("G1", "G1", "3"), ("", "G2", ""), ("V9", "", "x"), ("", "", "4")]
    records = [record(n, Ref=ref, Group=group, Buffer=value) for n, (ref, group, value) in enumerate(found, 1)]
    told: list[tuple[str, str]] = []
    tally = Tally()
    blocks = Keys(layout, tally).blocks(records)
    fed = list(buffers.fed(blocks, layout, FakeBook(), tally, belongs=lambda *pair: told.append(pair)))
    assert fed == [
        ("variation", "V1", " 2 ", 2),
        ("product", "G1", "3", 3),
        ("product", "G2", "", 4),
        ("variation", "V9", "x", 5),
    ]
    assert told == [("V1", "G1")]
    assert tally.left_out == {"no key": 1}


@pytest.mark.parametrize(
    ("typed", "raw", "stock"), [("10,500", "10,500", "8.5"), ("3,000", "3,000", "1"), ("4", "4", "2"), ("", "", "")]
)
def test_a_stock_that_is_one_field_stands_beside_the_buffered_one_as_it_came(typed: str, raw: str, stock: str) -> None:
    (found,) = settled(rows(("S", "P", typed)), FakeBook("2"))
    assert (str(found["raw_stock"]), str(found["stock"])) == (raw, stock)
    assert typed == "" or found["raw_stock"] - found["stock"] == 2
