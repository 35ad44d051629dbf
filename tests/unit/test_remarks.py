"""Remarks: what is odd in a file but not wrong is counted with its first places; `remarks = "fail"` refuses it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cegid_daemon.coverage import Coverage, Remark, RemarkPlace, SkippedLine
from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite import key_remarks, rewrite
from cegid_daemon.rewrite.buffers import IGNORED
from cegid_daemon.rewrite.masking import Fields
from cegid_daemon.rewrite.masking.examples import masked_examples
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Field, Layout, Output, Proof, Recipe, Stocks, Templates
from cegid_daemon.rewrite.remarks import (
    ABSENT_FIELD,
    DECIMAL_KEY,
    INVISIBLE_IN_KEY,
    MIXED_ENCODING,
    MOST_PLACES,
    NO_NUMBER,
    QUOTED_KEY,
    REPEATED_ELEMENT,
    REPEATED_TITLES,
    SCIENTIFIC_KEY,
    SKIPPED_RECORD,
    SKU_TWICE,
)
from cegid_daemon.rewrite.tally import TITLES

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ROWS = Layout("rows", "delimited", sku="r.ean", stock="r.q")
NAMED = replace(ROWS, header=False, columns=("ean", "q"))
ITEMS = Layout("items", "xml", record="Item", sku="r.Code", stock="r.Qty")
TEMPLATE = "{% for r in records %}{{ r.sku }}|{{ r.stock }}\n{% endfor %}"


class Book:
    """No buffers at all."""

    def store_buffer(self) -> str | None:
        return None

    def variations(self, _keys: Sequence[str]) -> Mapping[str, str]:
        return {}

    products = catalogue = variations

    def exported(self, _keys: Sequence[str]) -> Sequence[str]:
        return ()


class Sink:
    """Keeps the parts."""

    def __init__(self) -> None:
        self.parts: list[io.BytesIO] = []

    def part(self, _no: int) -> Any:
        part = io.BytesIO()
        part.close = lambda: None  # type: ignore[method-assign]
        self.parts.append(part)
        return part

    def belongs(self, sku: str, product: str) -> None:
        """Nothing of it is looked at."""

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        """Nothing of it is looked at."""


def made(layout: Layout, raw: str | bytes, *, remarks: str = "keep", template: str = TEMPLATE) -> tuple[Coverage, str]:
    """What becomes of a file."""
    recipe = Recipe(layout, Templates("t.txt.j2", {"t.txt.j2": template}), Output(), "{{ part }}", remarks=remarks)
    content, sink = raw if isinstance(raw, bytes) else raw.encode(), Sink()
    job = Job(1, "t", NOW, "f", "", "r", "main", NOW)
    done = rewrite(recipe, job, lambda: [content] if content else [], Book(), sink)
    assert done.coverage.explained
    return done.coverage, "".join(part.getvalue().decode() for part in sink.parts)


def kinds(coverage: Coverage) -> dict[str, int]:
    return {remark.kind: remark.count for remark in coverage.remarks}


def place(coverage: Coverage, kind: str) -> RemarkPlace:
    return next(remark.places[0] for remark in coverage.remarks if remark.kind == kind)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("1.23457E+12", SCIENTIFIC_KEY),
        ("1,23457E+12", SCIENTIFIC_KEY),
        ("2E+12", SCIENTIFIC_KEY),
        ("1.23457e12", SCIENTIFIC_KEY),
        ("2000000000015.0", DECIMAL_KEY),
        ("2000000000015,00", DECIMAL_KEY),
        ('"2000000000015"', QUOTED_KEY),
        ("'2000000000015", QUOTED_KEY),
        ('2000000000015"', QUOTED_KEY),
        ("200\u200b0015", INVISIBLE_IN_KEY),
        ("A\u00a0B", INVISIBLE_IN_KEY),
    ],
)
def test_an_odd_key_is_remarked_on_with_its_place(key: str, kind: str) -> None:
    coverage, out = made(ROWS, f"ean;q\n1;1\n{key};5\n")
    assert kinds(coverage) == {kind: 1}
    assert place(coverage, kind) == RemarkPlace(3, 2, "sku", key)
    assert f"{key}|5" in out
    with pytest.raises(BadInput) as caught:
        made(ROWS, f"ean;q\n1;1\n{key};5\n", remarks="fail")
    assert (caught.value.where.line, caught.value.where.record, caught.value.where.field) == (3, 2, "sku")
    assert kind in str(caught.value)
    assert caught.value.why
    assert caught.value.remedy


@pytest.mark.parametrize("key", ['"SKU', 'SKU"', 'A ""B""', '"BOX 12"', 'BOX 12""', '"12""', "'SKU'", 'A"'])
def test_quotation_marks_around_a_key_are_remarked_on(key: str) -> None:
    assert kinds(made(ROWS, f"ean;q\n{key};5\n")[0]) == ({QUOTED_KEY: 1} if key[-1] == '"' or key[0] in "\"'" else {})


@pytest.mark.parametrize("key", ['BOX 12"', '12"', 'TV-55"', 'PIPE 3/4"', 'PIPE 1.5"', "5'6\"", '27" MONITOR'])
def test_an_inch_sign_at_the_end_of_a_key_is_not(key: str) -> None:
    assert made(ROWS, f"ean;q\n{key};5\n")[0].remarks == ()


@pytest.mark.parametrize("key", ["12E5", "A.B", "1E5", "é", "10.5", "A-000", "O'NEILL", "X 0", "5.0"])
def test_a_plain_key_is_not(key: str) -> None:
    assert made(ROWS, f"ean;q\n{key};5\n")[0].remarks == ()


def test_a_sku_that_comes_twice_is_remarked_on_unless_it_is_summed_or_moved() -> None:
    raw = "ean;q\nA;1\nB;2\nA;3\n;4\n;5\n"
    coverage, _ = made(ROWS, raw)
    assert kinds(coverage) == {SKU_TWICE: 1}
    assert place(coverage, SKU_TWICE) == RemarkPlace(4, 3, "sku", "A")
    assert made(replace(ROWS, sum_by="sku"), raw)[0].remarks == ()
    assert made(replace(ROWS, delta=True), raw)[0].remarks == ()


def test_skus_that_come_twice_are_counted_beyond_those_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_remarks, "MOST_KEPT", 2_000)
    monkeypatch.setattr(key_remarks, "_PASS", 1_000)
    keys = [f"K{number}" for number in range(5_000)]
    raw = "ean;q\n" + "".join(f"{key};1\n" for key in [*keys, "K1", "K4000", "K4000", "K4999"])
    coverage, _ = made(ROWS, raw)
    assert kinds(coverage) == {SKU_TWICE: 4}
    assert {one.line for one in coverage.remarks[0].places} == {5002, 5003, 5004, 5005}


def test_skus_behind_the_most_that_are_kept_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_remarks, "MOST_KEPT", 1_000)
    monkeypatch.setattr(key_remarks, "MOST_HASHED", 2_000)
    keys = [f"K{number}" for number in range(20_000)]
    coverage, _ = made(ROWS, "ean;q\n" + "".join(f"{key};1\n" for key in [*keys, "K1", "K19999"]))
    assert kinds(coverage) == {SKU_TWICE: 1}


def test_a_sku_that_comes_twice_inside_records_is_remarked_on() -> None:
    layout = Layout("p", "xml", record="P", product="r.Ref", stocks=(Stocks("V", "r.Code", "r.Qty"),))
    raw = "<S><P><Ref>1</Ref><V><Code>A</Code><Qty>1</Qty></V><V><Code>A</Code><Qty>2</Qty></V></P></S>"
    coverage, _ = made(layout, raw, template="{% for r in records %}{{ r.product }}{% endfor %}")
    assert kinds(coverage)[SKU_TWICE] == 1


def test_places_are_bounded_and_counts_are_not() -> None:
    coverage, _ = made(ROWS, "ean;q\n" + "".join(f"{number}E+12;1\n" for number in range(9)) * 2)
    assert kinds(coverage)[SCIENTIFIC_KEY] == 18
    assert all(len(remark.places) <= MOST_PLACES for remark in coverage.remarks)


@pytest.mark.parametrize("layout", [ROWS, NAMED, replace(ROWS, columns=("ean", "q"))])
def test_a_title_row_in_the_data_is_left_out_and_remarked_on(layout: Layout) -> None:
    coverage, out = made(layout, "ean;q\nA;1\nean;q\nB;2\n")
    assert out == "A|1\nB|2\n"
    times = 2 if layout is NAMED else 1
    assert coverage.left_out == {TITLES: times}
    assert kinds(coverage) == {REPEATED_TITLES: times}
    with pytest.raises(BadInput, match="title row"):
        made(layout, "ean;q\nA;1\nean;q\nB;2\n", remarks="fail")


def test_one_byte_that_is_no_utf_8_is_remarked_on_with_its_place() -> None:
    coverage, _ = made(ROWS, "ean;q;n\nA;1;été\n".encode() + b"B;2;\xe9\n")
    assert kinds(coverage) == {MIXED_ENCODING: 1}
    assert place(coverage, MIXED_ENCODING) == RemarkPlace(3, 0, "", "byte 23, 0xE9")
    assert "cp1252" in coverage.encoding
    assert "byte 23, 0xE9, in line 3" in coverage.encoding


def test_a_file_in_cp1252_is_no_remark_but_auto_says_so() -> None:
    coverage, _ = made(ROWS, "ean;q;n\nA;1;été\n".encode("cp1252"))
    assert coverage.remarks == ()
    assert "chosen by auto: the first byte that is no UTF-8 is byte 13, 0xE9, in line 2" in coverage.encoding
    assert made(replace(ROWS, encoding="cp1252"), "ean;q;n\nA;1;é\n".encode("cp1252"))[0].encoding == ""
    assert made(ROWS, "ean;q;n\nA;1;é\n")[0].encoding == ""


# -- lines that are skipped -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [replace(NAMED, lead=2), Layout("f", "fixed", lead=2), replace(ROWS, lead=2)])
@pytest.mark.parametrize("raw", ["one line\n", "\n", " ", "\ufeff"])
def test_a_file_shorter_than_lead_is_a_fault(layout: Layout, raw: str) -> None:
    with pytest.raises(BadInput, match="lead") as caught:
        made(layout, raw)
    assert caught.value.where.field == "lead"


def test_no_bytes_at_all_are_nothing_to_send() -> None:
    assert made(replace(NAMED, lead=2), "")[0] == Coverage()


def test_a_missing_counter_line_does_not_swallow_the_first_record() -> None:
    with pytest.raises(BadInput, match="lead") as caught:
        made(replace(NAMED, lead=1), "2000000000015;5\n2000000000022;7\n")
    assert caught.value.where.line == 1
    with pytest.raises(BadInput, match="header"):
        made(replace(NAMED, header=True), "2000000000015;5\n2000000000022;7\n")


def test_a_missing_counter_line_is_noticed_in_fixed_and_multi_record_files() -> None:
    fields = (Field("ean", 1, 13), Field("q", 14, 5))
    fixed = Layout("f", "fixed", lead=1, sku="r.ean", stock="r.q", fields=fields)
    with pytest.raises(BadInput, match="lead"):
        made(fixed, "2000000000015    5\n2000000000022    7\n")
    records = Layout("r", "records", lead=1, sku="r.ean", types={"STK": ("ean", "q")})
    with pytest.raises(BadInput, match="lead"):
        made(records, "STK;2000000000015;5\nSTK;2000000000022;7\n", template="{% for r in records %}{% endfor %}")


@pytest.mark.parametrize(
    ("first", "remarked"), [("N;2", True), ("2000000000015;5", True), ("COUNTER", False), ("ean;q", False)]
)
def test_a_skipped_line_is_told_and_remarked_on_where_it_could_be_a_record(first: str, remarked: bool) -> None:
    layout = replace(NAMED, lead=1)
    coverage, _ = made(layout, f"{first}\n" if remarked and first[0] == "2" else f"{first}\nA1;5\n")
    assert coverage.skipped == (SkippedLine(1, "lead", first),)
    assert kinds(coverage) == ({SKIPPED_RECORD: 1} if remarked else {})


@pytest.mark.parametrize(
    "raw",
    [
        "STOCK;2\nA1;5\nA2;7\n",
        "STOCK;7\n2000000000015;5\n2000000000022;7\n",
        "STOCK;20261127\n2000000000015;5\n",
        ";2\nA1;5\nA2;7\n",
        "NB LIGNES;2\nSYN-REF1;5\nSYN-REF2;7\n",
        "STOCK;20261127\nA1;5\nA2;7\n",
    ],
)
def test_a_counter_line_is_no_record(raw: str) -> None:
    layout = replace(NAMED, lead=1)
    coverage, _ = made(layout, raw)
    assert coverage.remarks == ()
    assert coverage.skipped[0].text == raw.partition("\n")[0]


def test_a_trailer_that_no_record_looks_like_is_none() -> None:
    trailed = replace(NAMED, proof=Proof("END"))
    assert made(trailed, "2000000000015;5\n2000000000022;7\nEND;2\n")[0].remarks == ()


@pytest.mark.parametrize("first", ["A7;2", "STOCK;2", "2000000000039;9"])
def test_a_record_that_is_taken_for_a_counter_line_is_remarked_on(first: str) -> None:
    assert kinds(made(replace(NAMED, lead=1), f"{first}\nA1;5\nB;2\nC;3\n")[0]) == {SKIPPED_RECORD: 1}


def test_a_line_that_declares_the_count_is_trusted_and_the_trailer_is_told() -> None:
    counted = replace(NAMED, lead=1, proof=Proof(count="r['2']"))
    coverage, _ = made(counted, "2000000000000;1\n2000000000015;5\n")
    assert coverage.remarks == ()
    trailed = replace(NAMED, proof=Proof("END"))
    assert made(trailed, "A;5\nEND;1\n")[0].skipped == (SkippedLine(2, "trailer", "END;1"),)
    assert kinds(made(trailed, "A;5\nEND;1\n")[0]) == {SKIPPED_RECORD: 1}
    assert made(replace(NAMED, proof=Proof("END", "r['2']")), "A;5\nEND;1\n")[0].remarks == ()


# -- XML --------------------------------------------------------------------------------------------------------------


def item(inside: str) -> str:
    return f"<S><Item><Code>A</Code>{inside}</Item></S>"


@pytest.mark.parametrize(
    ("inside", "whole"),
    [
        ("<Qty><Value>12</Value></Qty>", "12"),
        ("<Qty>1<Unit/>2</Qty>", "12"),
        ("<Qty>12<Unit/></Qty>", "12"),
        ("<Qty><a><b>1</b></a>2</Qty>", "12"),
    ],
)
def test_a_value_that_holds_elements_is_a_fault_when_it_is_read(inside: str, whole: str) -> None:
    for layout in (ITEMS, replace(ITEMS, stock="r.Qty - r.Reserved"), replace(ITEMS, sku="r.Qty ~ 'x'", stock="")):
        with pytest.raises(BadInput, match="holds elements") as caught:
            made(layout, item(inside))
        where = caught.value.where
        assert (where.field, where.line, where.record) == ("Qty", 1, 1)
    assert made(replace(ITEMS, text="all"), item(inside))[1] == f"A|{whole}\n"


@pytest.mark.parametrize(
    "expression", ["r.Qty", "r.Qty ~ '-'", "r.Qty|int", "r.Qty|float",
                   "r.Qty|upper", "1 if r.Qty else 0", "r['Qty']", "r.raw['Qty']",
                   "r.Qty == '1'", "r.Qty|fit(3)", "r.Qty[:1]", "'%s' % r.Qty", "r.Qty|join(',')", "r.Deep.x"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["t.txt.j2", "t.xml.j2"])
def test_a_template_that_reads_it_fails(expression: str, name: str) -> None:
    layout = replace(ITEMS, stock="")
    template = f"{{% for r in records %}}{{{{ {expression.replace('r.Deep.x', 'r.Qty.strip()')} }}}}{{% endfor %}}"
    recipe = Recipe(layout, Templates(name, {name: template}), Output(), "{{ part }}")
    job = Job(1, "t", NOW, "f", "", "r", "main", NOW)
    with pytest.raises(BadInput, match="holds elements"):
        rewrite(recipe, job, lambda: [item("<Qty><V>1</V></Qty>").encode()], Book(), Sink())


def test_it_is_no_fault_where_nobody_reads_it() -> None:
    template = "{% for r in records %}{{ r.sku }}{% if r.Deep is defined %}+{% endif %}{{ r['Deep/V'] }}{% endfor %}"
    assert made(replace(ITEMS, stock=""), item("<Deep><V>1</V></Deep>"), template=template)[1] == "A+1"


@pytest.mark.parametrize(
    "inside", ["<Qty>1<!-- of -->2</Qty>", "<Qty>1<![CDATA[2]]></Qty>", "<Qty><?x y?>12</Qty>", "<Qty>&#49;2</Qty>"]
)
def test_comments_sections_and_instructions_inside_a_value_do_not_cut_it(inside: str) -> None:
    assert made(ITEMS, item(inside))[1] == "A|12\n"


def test_a_repeated_element_is_remarked_on_unless_it_is_blank_or_holds_elements() -> None:
    coverage, out = made(ITEMS, item("<Qty>1</Qty><Qty>2</Qty><Qty/>"))
    assert out == "A|1\n"
    assert kinds(coverage) == {REPEATED_ELEMENT: 1}
    assert place(coverage, REPEATED_ELEMENT) == RemarkPlace(1, 1, "Qty", "2")
    assert made(ITEMS, item("<Qty>1</Qty><V><A/></V><V><A/></V>"))[0].remarks == ()
    path = replace(ITEMS, stock="r['Lot/Qty']")
    coverage, _ = made(path, item("<Lot><Qty>1</Qty></Lot><Lot><Qty>2</Qty></Lot>"))
    assert place(coverage, REPEATED_ELEMENT) == RemarkPlace(1, 1, "Lot/Qty", "2")


@pytest.mark.parametrize(
    ("template", "remarked"),
    [
        ("{{ r.sku }}", False),
        ("{{ r.Tag }}", True),
        ("{{ r['Tag'] }}", True),
        ("{% set name = 'Tag' %}{{ r[name] }}", True),
        ("{{ r['T' ~ 'ag'] }}", True),
        ("{{ r.raw.items() | list }}", True),
        ("{{ [r] | map(attribute='Tag') | first }}", True),
    ],
)
def test_a_repeated_element_is_remarked_on_where_it_is_read(template: str, remarked: bool) -> None:
    raw = item("<Qty>1</Qty><Tag>a</Tag><Tag>b</Tag>")
    coverage, _ = made(ITEMS, raw, template=f"{{% for r in records %}}{template}{{% endfor %}}")
    assert kinds(coverage) == ({REPEATED_ELEMENT: 1} if remarked else {})
    assert kinds(made(replace(ITEMS, skip=("r.Tag == 'x'",)), raw)[0]) == {REPEATED_ELEMENT: 1}


@pytest.mark.parametrize(
    "all_of_them", ["{% for t in r.each('Tag') %}{{ t.parent.sku }}{% endfor %}", "{{ r.each('Tag') }}"]
)
def test_repeated_elements_that_are_read_one_by_one_are_not_remarked_on(all_of_them: str) -> None:
    template = "{% for r in records %}" + all_of_them + "{{ r.stock }}{{ r['In/Tag'] | default('') }}{% endfor %}"
    twice = "<Qty>1</Qty><Tag>a</Tag><Tag>b</Tag>"
    assert made(ITEMS, item(twice), template=template)[0].remarks == ()
    coverage, _ = made(ITEMS, item(twice + "<Qty>2</Qty>"), template=template)
    assert kinds(coverage) == {REPEATED_ELEMENT: 1}
    assert place(coverage, REPEATED_ELEMENT) == RemarkPlace(1, 1, "Qty", "2")
    coverage, _ = made(ITEMS, item(twice + "<In><Tag>c</Tag><Tag>d</Tag></In>"), template=template)
    assert place(coverage, REPEATED_ELEMENT) == RemarkPlace(1, 1, "In/Tag", "d")


def test_a_title_row_with_blanks_around_its_titles_is_one_too() -> None:
    coverage, out = made(ROWS, "ean;q\nA;1\n ean; q \nB;2\n")
    assert out == "A|1\nB|2\n"
    assert kinds(coverage) == {REPEATED_TITLES: 1}


def test_a_field_of_the_stock_that_stands_in_no_record_is_remarked_on() -> None:
    layout = replace(ITEMS, stock="r.Qty - r.Reservd")
    coverage, _ = made(layout, item("<Qty>5</Qty><Reserved>2</Reserved>"))
    assert kinds(coverage) == {ABSENT_FIELD: 1}
    assert coverage.remarks[0].places[0].field == "Reservd"
    assert coverage.remarks[0].places[0].value == "Reserved"
    for near in ("reservd", "Reserv-d"):
        assert kinds(made(layout, item(f"<Qty>5</Qty><{near}>2</{near}>"))[0]) == {ABSENT_FIELD: 1}
    two = "<S><Item><Qty>1</Qty></Item><Item><Code>A</Code><Qty>1</Qty><Reservd>1</Reservd></Item></S>"
    assert made(layout, two)[0].remarks == ()
    assert made(replace(layout, stock="r.Qty - r.Reservd|default('0')"), item("<Qty>5</Qty>"))[0].remarks == ()


@pytest.mark.parametrize(
    "also", ["", "<Label>x</Label>", "<Prepared>1</Prepared><Warehouse>1</Warehouse>", "<Qty2>1</Qty2>"]
)
def test_a_field_that_the_sender_leaves_out_of_every_record_is_none(also: str) -> None:
    layout = replace(ITEMS, stock="r.Qty - r.Reserved")
    coverage, out = made(layout, item(f"<Qty>5</Qty>{also}"))
    assert (coverage.remarks, out) == ((), "A|5\n")


@pytest.mark.parametrize(
    ("filter_", "value", "out"), [("int", "12,5", "0"), ("float", "x", "0.0"), ("int", "1 000", "0")]
)
def test_a_text_that_the_template_takes_for_0_is_remarked_on(filter_: str, value: str, out: str) -> None:
    template = f"{{% for r in records %}}{{{{ r.q | {filter_} }}}}{{% endfor %}}"
    coverage, made_of_it = made(replace(ROWS, stock=""), f"ean;q\nA;{value}\n", template=template)
    assert made_of_it == out
    assert [(one.kind, one.places[0]) for one in coverage.remarks] == [(NO_NUMBER, RemarkPlace(field="q", value=value))]
    for quiet in (f"r.q | {filter_}(7)", f"'' | {filter_}", f"'4' | {filter_}"):
        template = f"{{% for r in records %}}{{{{ {quiet} }}}}{{% endfor %}}{{{{ '' }}}}"
        assert made(replace(ROWS, stock=""), f"ean;q\nA;{value}\n", template=template)[0].remarks == ()


# -- keeping ----------------------------------------------------------------------------------------------------------

KEPT = Coverage(
    1, 1, remarks=(Remark("odd", 7, (RemarkPlace(2, 1, "sku", "A1"), RemarkPlace(3, 2, "Mail", "x@y"))),),
    skipped=(SkippedLine(1, "lead", "N;2"),), encoding="cp1252",
)  # fmt: skip


def test_a_coverage_comes_back_from_its_json_and_so_does_one_of_an_earlier_version() -> None:
    assert Coverage.from_json(KEPT.as_json()) == KEPT
    assert Coverage.from_json({"read": 1, "sent": 1, "left_out": {}, "rejected": {}, "notes": {}}) == Coverage(1, 1)
    assert set(Coverage(1, 1).as_json()) == {"read", "sent", "left_out", "rejected", "notes"}


@pytest.mark.parametrize(
    ("kept", "keys", "buffers", "note"),
    [
        (True, False, False, f"line 3: 4711\n: 'x': {IGNORED}"), (True, True, False, f"line 3: {IGNORED}"),
        (True, False, True, f"line 3: {IGNORED}"), (False, False, False, f"line 3: {IGNORED}"),
    ],
)  # fmt: skip
def test_a_note_on_an_ignored_buffer_quotes_nothing_that_is_masked(kept, keys, buffers, note):
    counted = Coverage(notes={f"line 3: 4711\n: 'x': {IGNORED}": 1, f"more values: {IGNORED}": 7, "cut to 35: A": 2})
    shown = masked_examples(counted, Fields.of(("A",)), kept=kept, keys_told=keys, buffers_told=buffers)
    assert shown.notes == {note: 1, f"more values: {IGNORED}": 7, "cut to 35: A": 2}


def test_examples_are_masked_as_the_route_says_and_gone_where_the_log_keeps_nothing() -> None:
    none = masked_examples(KEPT, Fields.of(()), kept=True, keys_told=False)
    assert none == KEPT
    mail = masked_examples(KEPT, Fields.of(("Mail",)), kept=True, keys_told=False)
    assert [one.value for one in mail.remarks[0].places] == ["A1", "***"]
    assert mail.skipped[0].text == "***"
    assert masked_examples(KEPT, Fields.of(("Code",)), kept=True, keys_told=True).remarks[0].places[0].value == "**"
    gone = masked_examples(KEPT, Fields.of(()), kept=False, keys_told=False)
    assert [one.value for one in gone.remarks[0].places] == ["", ""]
    assert (gone.skipped, gone.remarks[0].count) == ((), 7)
