"""Fixed-width lines: where fields are cut, the record head, and lines that are cut off."""

from __future__ import annotations

import pytest

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.recipe import Field, Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

LAYOUT = Layout(
    "stock", "fixed", head="STK", decimal=",", sku="r.SKU", stock="r.QTE",
    fields=(Field("SKU", 7, 8), Field("ARTICLE", 15, 6, trim=False), Field("QTE", 21, 8), Field("LABEL", 29, 10)),
)  # fmt: skip
LINE = "STKC1 3000007 AB  X   12,000Écharpe   "


def read(body: str, layout: Layout = LAYOUT) -> list[Record]:
    return list(layouts.read(layout, lambda: [body.encode("cp1252")], Tally()))


def test_fields_are_cut_by_characters_on_the_line_as_it_stands() -> None:
    (r,) = read(LINE + "\r\n")
    assert r == {"SKU": "3000007", "ARTICLE": "AB  X ", "QTE": "12,000", "LABEL": "Écharpe", "@mark": ""}
    assert (r.number, r.line) == (1, 1)


def test_the_mark_is_a_field_and_leaves_nothing_out() -> None:
    assert [r["@mark"] for r in read(f"{LINE}\n{LINE[:5]}I{LINE[6:]}\n")] == ["", "I"]


def test_characters_count_in_utf_16_too() -> None:
    (r,) = layouts.read(LAYOUT, lambda: [LINE.encode("utf-16")], Tally())
    assert r["LABEL"] == "Écharpe"


def test_blanks_cut_at_the_end_of_a_line_are_blank_fields() -> None:
    (r,) = read(LINE[:28] + "\r\n")
    assert (r["QTE"], r["LABEL"]) == ("12,000", "")


def test_an_untrimmed_field_that_was_cut_is_filled_up() -> None:
    layout = Layout("x", "fixed", fields=(Field("A", 1, 2), Field("GA_ARTICLE", 3, 6)), untrimmed=("GA_ARTICLE",))
    assert read("12AB\n", layout)[0]["GA_ARTICLE"] == "AB    "


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        (LINE + "\n" + LINE[:18] + "\n", 2, "too short"),
        (LINE + "\n" + LINE[:24], 2, "file ends inside it"),
        (LINE + "\n" + "XXX" + LINE[3:] + "\n", 2, "does not start with 'STK'"),
        (LINE + "\n\n" + LINE + "\n", 2, "too short"),
    ],
)
def test_a_broken_line_fails_with_its_number(body: str, line: int, what: str) -> None:
    with pytest.raises(BadInput, match=what) as caught:
        read(body)
    assert caught.value.where.line == line


def test_a_whole_last_line_needs_no_end() -> None:
    assert len(read(LINE + "\n" + LINE)) == 2


def test_zero_bytes_are_no_records() -> None:
    assert read("") == []
