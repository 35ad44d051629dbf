"""Records by column are the records they were made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.sheet import Sheet, merged, sheets

NAMES = ["A", "B", "C", "stock"]
FIELDS = st.permutations(NAMES).flatmap(
    lambda names: st.integers(0, len(names)).map(lambda many: {name: f"{name}!" for name in names[:many]})
)


def numbered(fields):
    records = []
    for number, one in enumerate(fields, 1):
        record = Record(one)
        record.number, record.line = number, number * 3
        records.append(record)
    return records


def seen(records):
    return [(list(r.items()), r.number, r.line) for r in records]


@given(st.lists(FIELDS, max_size=40))
def test_records_come_back_as_they_were(fields):
    records = numbered(fields)

    back = [record for sheet in sheets(records) for record in sheet.records(Record)]

    assert seen(back) == seen(records)


@given(st.lists(FIELDS, min_size=1, max_size=40), st.data())
def test_some_are_left_out(fields, data):
    records = numbered(fields)
    kept = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    places = iter(kept)

    back = [
        r for sheet in sheets(records) for r in sheet.only([next(places) for _ in range(len(sheet))]).records(Record)
    ]

    assert seen(back) == seen([record for record, keep in zip(records, kept, strict=True) if keep])


@pytest.mark.parametrize("name", ["stock", "STOCK"])
def test_computed_names_win_and_what_they_hide_stays_in_raw(name):
    (sheet,) = sheets(numbered([{"A": "1", name: "7"}, {"A": "2"}]))
    computed = Sheet(sheet.names, sheet.columns, sheet.numbers, sheet.lines, {"stock": [5, 6], "sku": ["x", "y"]})

    one, other = computed.records(Record)

    assert (one["stock"], one["sku"], other["stock"]) == (5, "x", 6)
    assert (dict(one.raw), dict(other.raw)) == ({"A": "1", name: "7"}, {"A": "2"})


@given(st.permutations(NAMES), st.permutations(NAMES), st.integers(0, 4), st.integers(0, 4))
def test_names_are_merged_in_an_order_both_have(one, other, some, more):
    known, new = tuple(one[:some]), tuple(other[:more])

    both = merged(known, new)

    if both is None:
        shared = set(known) & set(new)
        assert [name for name in known if name in shared] != [name for name in new if name in shared]
    else:
        assert sorted(both) == sorted({*known, *new})
        assert [name for name in both if name in known] == list(known)
        assert [name for name in both if name in new] == list(new)
