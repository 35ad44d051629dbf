"""Records that travel between two processes arrive as they were, or say what stayed behind."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.recipe import Layout, Stocks
from cegid_daemon.rewrite.record import PlainDecimal, Record, as_it_came
from cegid_daemon.rewrite.sheet import Sheet, sheets
from cegid_daemon.rewrite.travel import StayedBehind, packed, travels, unpacked

TEXT = st.text(st.characters(exclude_characters="\0\1", exclude_categories=("Cs",)), max_size=8)
FIELDS = st.dictionaries(TEXT, TEXT, max_size=4)
FRACTION = (
    st.decimals(allow_nan=False, allow_infinity=False)
    .filter(lambda one: one != one.to_integral_value())
    .map(PlainDecimal)
)
PLAIN = st.just("") | st.integers() | FRACTION
STOCK = PLAIN | st.builds(as_it_came, PLAIN, TEXT)


def sheets_of(rows, first=1):
    """Sheets of (fields, SKU, stock)."""
    records, rest = [], iter(rows)
    for number, (fields, *_) in enumerate(rows, first):
        record = Record(fields)
        record.number, record.line = number, number * 3
        records.append(record)
    for sheet in sheets(records):
        own = [next(rest) for _ in range(len(sheet))]
        computed = {"sku": [sku for _, sku, _ in own], "stock": [stock for *_, stock in own]}
        yield Sheet(sheet.names, sheet.columns, sheet.numbers, sheet.lines, computed)


@given(st.lists(st.tuples(FIELDS, TEXT, STOCK), max_size=30), st.integers(1, 10**9))
def test_records_and_what_was_computed_arrive_as_they_were(rows, first):
    sent = [record for sheet in sheets_of(rows, first) for record in sheet.records(Record)]

    arrived = [record for sheet in sheets_of(rows, first) for record in unpacked(packed(sheet))]

    assert [list(one.items()) for one in arrived] == [list(one.items()) for one in sent]
    assert [dict(one.raw) for one in arrived] == [fields for fields, *_ in rows]
    assert [(one.number, one.line) for one in arrived] == [(one.number, one.line) for one in sent]
    assert [seen(one["stock"]) for one in arrived] == [seen(stock) for *_, stock in rows]


def seen(stock):
    """What a template sees of a stock."""
    return type(stock), str(stock), stock and stock + Decimal(0)


@pytest.mark.parametrize("ask", [lambda r: r["A/B"], lambda r: r["{uri}A"], lambda r: r.each("A")])
def test_what_only_the_element_knows_stayed_behind(ask):
    (sheet,) = sheets_of([({"A": "1"}, "1", 2)])
    (record,) = unpacked(packed(sheet))

    with pytest.raises(StayedBehind):
        ask(record)
    with pytest.raises(KeyError):
        record["B"]


def test_only_xml_of_flat_records_travels():
    layout = Layout("x", "xml", record="Item", sku="r.Code", stock="r.Qty")

    assert travels(layout)
    assert not travels(replace(layout, kind="delimited"))
    assert not travels(replace(layout, stocks=(Stocks(each="Line", stock="Qty"),)))
    assert not travels(replace(layout, sku="r['Code/@id']"))
    assert not travels(replace(layout, buffer="r.Buffer"))


def test_a_field_that_holds_elements_arrives_as_one():
    record = Record({"Code": "1", "Qty": NestedText("Qty", 7, 3)})
    record.number, record.line = 3, 6
    plain = Record({"Code": "2", "Qty": "\2"})
    plain.number = 4
    (sheet,) = sheets([record, Record({"Code": "3"})])

    arrived, other = unpacked(packed(sheet))

    assert arrived["Qty"] == NestedText("Qty", 7, 3)
    assert "Qty" not in other
    with pytest.raises(BadInput, match="holds elements"):
        arrived["Qty"].strip()
