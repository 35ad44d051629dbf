"""Whichever way an XML file is read, by tree or by column, the same comes out, remarks included."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.errors import MessageError
from cegid_daemon.rewrite import columns, rewrite, travel
from cegid_daemon.rewrite.layouts import plain_xml
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Layout, Output, Recipe, Templates
from cegid_daemon.rewrite.record import Record
from tests.unit.test_remarks import NOW, Book, Sink

LAYOUT = Layout("items", "xml", record="Item", sku="r.Code", product="r.Ref", stock="r.Physical - r.Reserved")
TEMPLATE = "{% for r in records %}{{ r.sku }}|{{ r.stock }}|{{ r.Note | default('-') }}\n{% endfor %}"

CODES = st.sampled_from(
    ["<Code>1</Code>", "<Code>2.5E+12</Code>", "<Code>'3</Code>", "<Code>1</Code><Code>4</Code>", ""]
)
NUMBERS = st.sampled_from(
    [
        "{}", "<V>{}</V>", "1<V/>{}", "{}<!-- a -->0", "<![CDATA[{}]]>", "{}<?pi?>", "{}</F><F>9", "{}<V>0</V>",
        "", " {} ", "&#49;",
    ]
)  # fmt: skip
NOTES = st.sampled_from(["", "<Note>a</Note>", "<Note><b>a</b></Note>", "<Note>a</Note><Note>b</Note>", "<Ref>P</Ref>"])


@st.composite
def item(draw: Any) -> str:
    physical = draw(NUMBERS).format(draw(st.integers(0, 9))).replace("F>", "Physical>")
    fields = [draw(CODES), f"<Physical>{physical}</Physical>", draw(NOTES)]
    if draw(st.booleans()):
        fields.append("<Reserved>1</Reserved>")
    return f"<Item>{''.join(fields)}</Item>"


def by_column(layout: Any, source: Any, book: Any, tally: Any, *, belongs: Any, scratch: Any) -> Iterator[Record]:
    sheets = plain_xml.read(layout, source, tally)
    for sheet in columns.stocked(sheets, layout, book, tally, belongs=belongs, scratch=scratch):
        yield from travel.unpacked(travel.packed(sheet))


def outcome(layout: Layout, raw: bytes, remarks: str, **how: Any) -> Any:
    recipe = Recipe(layout, Templates("t.txt.j2", {"t.txt.j2": TEMPLATE}), Output(), "n", remarks=remarks)
    sink = Sink()
    try:
        done = rewrite(
            recipe, Job(1, "t", NOW, "f", "", "r", "main", NOW), lambda: [raw], Book(), sink, scratch=io.BytesIO, **how
        )
    except MessageError as error:
        return type(error).__name__, error.what.partition(" holds ")[2]
    return done.coverage, [part.getvalue() for part in sink.parts]


@given(st.lists(item(), max_size=6), st.sampled_from(["", "all"]), st.sampled_from(["", "sku"]), st.booleans())
def test_both_ways_agree(items: list[str], text: str, sum_by: str, fail: bool) -> None:
    layout = replace(LAYOUT, text=text, sum_by=sum_by)
    raw = f"<Stock>{''.join(items)}</Stock>".encode()
    remarks = "fail" if fail else "keep"

    assert outcome(layout, raw, remarks, stock=by_column) == outcome(layout, raw, remarks)
