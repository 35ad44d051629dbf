"""Records that travel between two processes arrive as they were, or say what stayed behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.rewrite.recipe import Layout, Stocks
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.travel import StayedBehind, packed, travels, unpacked

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)
FIELDS = st.dictionaries(TEXT, TEXT, max_size=4)


def numbered(fields, first=1):
    records = []
    for number, one in enumerate(fields, first):
        record = Record(one)
        record.number, record.line = number, number * 3
        records.append(record)
    return records


@given(st.lists(FIELDS, min_size=1, max_size=30), st.integers(1, 10**9))
def test_records_arrive_as_they_were(fields, first):
    sent = numbered(fields, first)

    arrived = list(unpacked(packed(sent)))

    assert [list(one.items()) for one in arrived] == [list(one.items()) for one in sent]
    assert [(one.number, one.line) for one in arrived] == [(one.number, one.line) for one in sent]


@pytest.mark.parametrize("ask", [lambda r: r["A/B"], lambda r: r["{uri}A"], lambda r: r.each("A")])
def test_what_only_the_element_knows_stayed_behind(ask):
    (record,) = unpacked(packed(numbered([{"A": "1"}])))

    with pytest.raises(StayedBehind):
        ask(record)
    with pytest.raises(KeyError):
        record["B"]


def test_only_xml_without_inner_stocks_travels():
    assert travels(Layout("x", "xml", record="Item", stock="Qty"))
    assert not travels(Layout("x", "delimited"))
    assert not travels(Layout("x", "xml", record="Item", stocks=(Stocks(each="Line", stock="Qty"),)))
