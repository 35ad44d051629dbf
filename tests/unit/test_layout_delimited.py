"""Rows with a separator, and record groups: what is read and what is broken."""

from __future__ import annotations

import pytest

from cegid_daemon.errors import BadInput, TemplateFault
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.layouts import rows
from cegid_daemon.rewrite.recipe import Layout, Proof
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

CSV = Layout("stock", "delimited")


def read(body: str, layout: Layout = CSV, tally: Tally | None = None) -> list[Record]:
    return list(layouts.read(layout, lambda: [body.encode()], tally or Tally()))


def test_titles_name_the_fields_and_values_are_trimmed() -> None:
    tally = Tally()
    found = read("Code article;Dépôt\r\n 007 ;001\r\n008;\t002 \r\n", tally=tally)
    assert found == [{"Code article": "007", "Dépôt": "001"}, {"Code article": "008", "Dépôt": "002"}]
    assert [(r.number, r.line) for r in found] == [(1, 2), (2, 3)]
    assert tally.read == 2


@pytest.mark.parametrize("body", ["", "\n", "\r\n\r\n", "A;B", "A;B\r\n", "A;B\n\n\n"])
def test_no_bytes_or_titles_alone_are_no_records(body: str) -> None:
    assert read(body) == []


def test_blank_lines_at_the_end_are_nothing() -> None:
    assert len(read("A;B\n1;2\n\n  \n")) == 1


def test_columns_of_the_layout_stand_for_a_title_row() -> None:
    layout = Layout("x", "delimited", delimiter="\t", columns=("A", "B"), header=False)
    assert read("1\t2\n", layout) == [{"A": "1", "B": "2"}]


def test_a_title_row_is_passed_over_where_the_layout_names_the_columns_too() -> None:
    layout = Layout("x", "delimited", columns=("A", "B"), header=True)
    (found,) = read("Code;Code\n1;2\n", layout)
    assert (found, found.line, found.number) == ({"A": "1", "B": "2"}, 2, 1)


def test_an_untrimmed_field_keeps_its_blanks() -> None:
    layout = Layout("x", "delimited", untrimmed=("GA_ARTICLE",))
    assert read("GA_ARTICLE;B\n ABC  X ; 1 \n", layout) == [{"GA_ARTICLE": " ABC  X ", "B": "1"}]


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ("A;B\n1;2\n1;2;3\n", 3, "too many columns"),
        ("A;B\n1;2\n1\n1;2\n", 3, "too few columns"),
        ("A;B\n1;2\n\n1;2\n", 3, "too few columns"),
        ("A;B\n1;2\n1", 3, "too few columns"),
        ("A;A\n1;2\n", 1, "'A' twice"),
        ("A;;\n1;2;3\n", 1, "no title"),
        ("A\rB\r", 1, "carriage return"),
    ],
)
def test_a_broken_row_fails_with_its_line(body: str, line: int, what: str) -> None:
    with pytest.raises(BadInput, match=what) as caught:
        read(body)
    assert caught.value.where.line == line


def test_a_tab_row_of_blanks_is_a_row_where_others_follow() -> None:
    layout = Layout("x", "delimited", delimiter="\t")
    assert [r["A"] for r in read("A\tB\n\t\n1\t2\n", layout)] == ["", "1"]


def test_too_many_blank_lines_in_a_row_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_BLANK", 5)
    with pytest.raises(BadInput, match="mostly blank lines"):
        read("A;B\n" + "\n" * 6)


def test_quotes_may_hold_the_separator_and_line_breaks() -> None:
    layout = Layout("x", "delimited", delimiter=",", quote='"')
    found = read('A,B\n"1,5","x ""y"""\n"two\r\nlines",3\n4,5\n', layout)
    assert found == [{"A": "1,5", "B": 'x "y"'}, {"A": "two\nlines", "B": "3"}, {"A": "4", "B": "5"}]
    assert [r.line for r in found] == [2, 3, 5]


@pytest.mark.parametrize("row", ['"never closed\n1,2\n', '"a"b,2\n'])
def test_a_broken_quote_fails_with_the_line_it_starts_on(row: str) -> None:
    with pytest.raises(BadInput, match="quoted row is broken") as caught:
        read("A,B\n1,2\n" + row, Layout("x", "delimited", delimiter=",", quote='"'))
    assert caught.value.where.line == 3


def test_without_quote_a_quotation_mark_is_a_character() -> None:
    assert read('A;B\n"1;2"\n') == [{"A": '"1', "B": '2"'}]


# Proofs of completeness

TRAILER = Layout("x", "delimited", proof=Proof(trailer="END;", count="r['2']"))


def test_a_trailer_with_the_right_count_proves_the_file() -> None:
    assert len(read("A;B\n1;2\n3;4\nEND;2\n", TRAILER)) == 2


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("A;B\n1;2\nEND;2\n", "not whole"),
        ("A;B\n1;2\nEND;\n", "not whole"),
        ("A;B\n1;2\n", "trailer is missing"),
        ("A;B\nEND;0\n1;2\n", "follow the trailer"),
    ],
)
def test_a_file_that_is_not_whole_fails(body: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        read(body, TRAILER)


def test_zero_bytes_need_no_trailer() -> None:
    assert read("", TRAILER) == []


def test_a_counter_record_ahead_of_the_titles_is_a_lead_line_and_may_be_the_proof() -> None:
    layout = Layout("x", "delimited", lead=1, proof=Proof(count="r.text[3:]"))
    (r,) = read("NB:1\nA;B\n1;2\n", layout)
    assert r.line == 3
    with pytest.raises(BadInput, match="declares 2 records and holds 1"):
        read("NB:2\nA;B\n1;2\n", layout)


# Record groups

GROUPS = Layout("orders", "records", types={"CCM": ("REF", "DATE"), "CCL": ("REF", "QTY"), "ADR": ("REF", "NAME")})


def test_a_group_of_rows_is_one_record() -> None:
    tally = Tally()
    first, second = read("CCM;1;d\nCCL;1;5\nADR;1; Ann \nCCL;1;6\nCCM;2;e\n", GROUPS, tally)
    assert first == {"REF": "1", "DATE": "d"}
    assert [line["QTY"] for line in first.each("CCL")] == ["5", "6"]
    assert first.each("ADR")[0]["NAME"] == "Ann"
    assert first.each("CCL")[1].parent is first
    assert (second.number, second.line, list(second.each("CCL"))) == (2, 5, [])
    assert tally.read == 2
    with pytest.raises(TemplateFault, match="no record type 'CLL'"):
        first.each("CLL")


@pytest.mark.parametrize(
    ("body", "line", "what"),
    [
        ("CCL;1;5\n", 1, "before the first CCM"),
        ("CCM;1;d\nXXX;1\n", 2, "'XXX' is not one of"),
        ("CCM;1;d\nCCL;1\n", 2, "too few columns"),
    ],
)
def test_a_misplaced_row_fails_with_its_line(body: str, line: int, what: str) -> None:
    with pytest.raises(BadInput, match=what) as caught:
        read(body, GROUPS)
    assert caught.value.where.line == line
