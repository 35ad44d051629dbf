"""By column comes out what comes out record by record: keys, stock, buffers, counts, catalogue and faults."""

import io
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.errors import MessageError
from cegid_daemon.rewrite import buffers, columns, expressions, sums
from cegid_daemon.rewrite.keys import Keys
from cegid_daemon.rewrite.recipe import Layout, Stocks
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.sheet import sheets
from cegid_daemon.rewrite.tally import Tally

LAYOUT = Layout(
    "x", "xml", record="Item", decimal=",", skip=("r.Closed == 'X'", "r.Depot not in ['1', '2', '']"),
    sku="r.Code", product="r.Ref", stock="r.Qty - r.Kept",
)  # fmt: skip
LAYOUTS = [
    LAYOUT,
    replace(LAYOUT, skip=(), stock="r.Qty"),
    replace(LAYOUT, sku="r.Ref ~ '-' ~ r.Code", product=""),
    replace(LAYOUT, sku="", product=""),
    replace(LAYOUT, sku="r.Code[:2]", stock="5"),
    replace(LAYOUT, stock="", catalogue=True),
    replace(LAYOUT, catalogue=True),
    replace(LAYOUT, delta=True),
    replace(LAYOUT, sum_by="sku"),
    replace(LAYOUT, sum_by="product", stock="r.Qty"),
    replace(LAYOUT, stocks=(Stocks(sku="r.Code | upper", stock="r.Kept"),)),
    replace(LAYOUT, stock="r.stock"),
    replace(LAYOUT, skip=("r.Closed is defined",)),
]


@dataclass
class Book:
    """Buffers on all levels, and a catalogue."""

    store: str | None = "1"
    asked: list[str] = field(default_factory=list)

    def store_buffer(self):
        return self.store

    def variations(self, skus):
        return {sku: "2" for sku in skus if sku.endswith("a")}

    def products(self, products):
        return {product: "3" for product in products if product.endswith("P")}

    def catalogue(self, skus):
        return {sku: "QP" for sku in skus if sku.endswith("b")}

    def exported(self, keys):
        return ()


KEY = st.sampled_from(["", " ", "a", "b", "ab ", "P", "Q"])
NUMBER = st.sampled_from(["", "5", " 2 ", "-3", "1,000", "2,50", "1000"])
RECORD = st.fixed_dictionaries(
    {"Code": KEY},
    optional={
        "Ref": KEY, "Depot": st.sampled_from(["", "1", "9"]), "Qty": NUMBER, "Kept": NUMBER,
        "Closed": st.sampled_from(["X", "-", ""]), "stock": NUMBER,
    },
)  # fmt: skip


def numbered(fields):
    for number, one in enumerate(fields, 1):
        record = Record(one)
        record.number, record.line = number, number + 1
        yield record


def told(records, tally, pairs):
    try:
        found = [(list(r.items()), [str(one) for one in r.values()], dict(r.raw), r.number, r.line) for r in records]
    except MessageError as error:
        return str(error)
    return found, tally.coverage(), dict(pairs)


def by_record(fields, layout):
    tally, pairs = Tally(), []
    blocks = Keys(layout, tally).blocks(numbered(fields))
    records = buffers.stocked(blocks, layout, Book(), tally, belongs=lambda *pair: pairs.append(pair))
    return told(records, tally, pairs)


def by_column(fields, layout):
    tally, pairs = Tally(), []
    found = columns.stocked(
        sheets(numbered(fields)), layout, Book(), tally, belongs=lambda *pair: pairs.append(pair), scratch=io.BytesIO
    )
    return told((record for sheet in found for record in sheet.records(Record)), tally, pairs)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(st.lists(RECORD, max_size=12))
def test_it_is_what_comes_out_record_by_record(layout, fields):
    assert by_column(fields, layout) == by_record(fields, layout)


def test_sums_beyond_memory_are_the_same():
    fields = [{"Code": str(number % 7), "Qty": "1"} for number in range(40)]
    layout = replace(LAYOUT, sum_by="sku")

    with patch.object(sums, "KEPT", 3):
        assert by_column(fields, layout) == by_record(fields, layout)


@pytest.mark.parametrize("bad", ["x", "1.5", "1,5,0", "\u0663"])
def test_a_stock_that_is_no_number_is_told_with_its_place(bad):
    fields = [{"Code": "a", "Qty": "1"}] * 3 + [{"Code": "b", "Qty": bad}]

    fault = by_column(fields, LAYOUT)

    assert isinstance(fault, str)
    assert "line 5" in fault
    assert fault == by_record(fields, LAYOUT)


def test_more_texts_than_are_remembered_are_computed_again():
    fields = [{"Code": str(number), "Qty": str(number)} for number in range(50)]

    with patch.object(columns, "_KEPT", 5):
        assert by_column(fields, LAYOUT) == by_record(fields, LAYOUT)


def test_each_combination_of_texts_is_computed_once():
    fields = [{"Code": str(number), "Qty": str(number % 3)} for number in range(300)]
    layout = replace(LAYOUT, stock="r.Qty + r.Kept")
    with patch.object(columns, "compile_stock", return_value=lambda r: calls.append(r) or 1):
        calls = []
        by_column(fields, layout)

    assert len(calls) == 3


@pytest.mark.parametrize("reaches", ["r['A/B']", "r['{u}Code']", "r.raw['Code/@x']", "r.line", "r.parent.Code"])
def test_what_reaches_beyond_fields_is_known(reaches):
    assert expressions.reads_elements(replace(LAYOUT, skip=(f"{reaches} == '1'",)))
    assert not expressions.reads_elements(LAYOUT)
