"""What a layout expression means: text, exact decimals, blanks, and what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite.expressions import compile_condition, compile_number, compile_text, faults, fields_of
from cegid_daemon.rewrite.recipe import Layout, Proof, Stocks
from cegid_daemon.rewrite.record import Record

LAYOUT = Layout("stock", "delimited", decimal=",")


def record(**fields: str) -> Record:
    r = Record(fields)
    r.number, r.line = 3, 4
    return r


R = record(A="10,500", B="2", BLANK="", MARK="X", ARTICLE="ABC   001")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("r.A", "10,500"),
        ("r['A']", "10,500"),
        ("r.ARTICLE[:3]", "ABC"),
        ("r.ARTICLE[-3:]", "001"),
        ("r.ARTICLE[0]", "A"),
        ("r.ARTICLE[-1]", "1"),
        ("r.ARTICLE[99]", ""),
        ("r.B ~ '-' ~ r.MARK", "2-X"),
        ("r.B ~ 7", "27"),
        ("'live' if r.MARK == 'X' else 'closed'", "live"),
        ("'live' if r.MARK == '-'", ""),
        ("r.MARK|lower", "x"),
        ("r.MARK|replace('X', 'Y')|trim", "Y"),
        ("r.BLANK|default('none')", ""),
        ("r.BLANK|default('none', true)", "none"),
        ("r.ABSENT|default('none')", "none"),
        ("r.BLANK or r.B", "2"),
        ("r.ARTICLE.removeprefix('ABC').strip()", "001"),
        ("r.A - r.B", "8.5"),
        ("none", ""),
    ],
)
def test_an_expression_as_text(source: str, expected: str) -> None:
    assert compile_text(source, LAYOUT)(R) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("r.A", Decimal("10.5")),
        ("r.A - r.B", Decimal("8.5")),
        ("r.A - r.B - 0.1", Decimal("8.4")),
        ("0.1 + 0.2", Decimal("0.3")),
        ("r.A * 3", Decimal("31.5")),
        ("r.A / r.B", Decimal("5.25")),
        ("-7 // r.B", Decimal(-4)),
        ("-7 % r.B", Decimal(1)),
        ("-r.B", Decimal(-2)),
        ("+r.B", Decimal(2)),
        ("r.A - r.BLANK", Decimal("10.5")),
        ("r.BLANK - r.B", Decimal(-2)),
        ("r.BLANK", None),
        ("r.BLANK - r.BLANK", None),
        ("r.BLANK - 1", None),
        ("(r.BLANK - 1) + r.B", Decimal(1)),
        ("r.ABSENT + r.ABSENT", None),
        ("(r.A if r.MARK == 'X' else r.B) + 1", Decimal("11.5")),
        ("r.ARTICLE|length", Decimal(9)),
        ("r.A|int + 1", Decimal(11)),
        ("(r.B - r.A)|int", Decimal(-8)),
        ("(r.B - r.A)|abs", Decimal("8.5")),
        ("r.A|float", Decimal("10.5")),
        ("r.BLANK|int", None),
        ("[r.B - r.A, 0]|max", Decimal(0)),
        ("[r.A, r.B, r.BLANK]|min", Decimal(0)),
        ("[r.BLANK - r.ABSENT, 0]|max", None),
        ("'1,5'", Decimal("1.5")),
    ],
)
def test_an_expression_as_an_exact_number(source: str, expected: Decimal | None) -> None:
    assert compile_number(source, LAYOUT)(R) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("r.MARK == 'X'", True),
        ("r.MARK != 'X'", False),
        ("r.A == '10,5'", False),
        ("r.B == 2", True),
        ("r.A == 10.5", False),
        ("r.A + 0 == 10.50", True),
        ("r.A > 9", True),
        ("r.A >= '10,5'", True),
        ("9 < r.A < 11", True),
        ("r.BLANK < 1", True),
        ("r.BLANK > 0", False),
        ("r.MARK in ['X', '-']", True),
        ("r.MARK not in ['X', '-']", False),
        ("r.B in [1, 2]", True),
        ("'C   0' in r.ARTICLE", True),
        ("r.MARK == 'X' and r.A > 11", False),
        ("not r.BLANK", True),
        ("r.BLANK - r.BLANK", False),
        ("r.B - 2", False),
        ("r.ABSENT is defined", False),
        ("r.BLANK is defined", True),
        ("r.ABSENT is undefined", True),
        ("r.ARTICLE.startswith('ABC')", True),
        ("r.B.isdigit()", True),
    ],
)
def test_an_expression_as_yes_or_no(source: str, expected: bool) -> None:
    assert compile_condition(source, LAYOUT)(R) is expected


@pytest.mark.parametrize(
    "text",
    ["1.5", "1 000", "1e3", "NaN", "Infinity", "٣", "1_000", "abc", "--1", "1,2,3", ",", "+", "1\u202f000", "9" * 101],
)
def test_a_text_that_is_no_number_fails_with_line_field_and_value(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        compile_number("r.QTE - r.B", LAYOUT)(record(QTE=text, B="1"))
    assert (caught.value.where.line, caught.value.where.record, caught.value.where.field) == (4, 3, "QTE")
    assert repr(text[:20])[:-1] in caught.value.why


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,000", 1),
        ("+2", 2),
        ("-3,5", Decimal("-3.5")),
        (" \u00a05\t", 5),
        (",5", Decimal("0.5")),
        ("5,", 5),
        ("007", 7),
    ],
)
def test_the_number_grammar(text: str, expected: object) -> None:
    assert compile_number("r.QTE", LAYOUT)(record(QTE=text)) == expected


@pytest.mark.parametrize("source", ["r.ARTICLE|int", "r.ARTICLE|float", "r.ARTICLE|abs", "[r.ARTICLE, 0]|max"])
def test_a_filter_that_reads_numbers_never_takes_a_word_for_nought(source: str) -> None:
    with pytest.raises(BadInput, match="no number"):
        compile_number(source, LAYOUT)(R)


def test_the_decimal_mark_is_the_layouts() -> None:
    assert compile_number("r.Q", Layout("x", "xml"))(record(Q="1.5")) == Decimal("1.5")
    with pytest.raises(BadInput):
        compile_number("r.Q", Layout("x", "xml"))(record(Q="1,5"))


def test_arithmetic_never_rounds_in_silence() -> None:
    long = "9" * 90 + ",1"
    assert compile_number("r.A - r.B", LAYOUT)(record(A=long, B="0,1")) == Decimal("9" * 90)


def test_division_by_a_blank_fails_the_file() -> None:
    with pytest.raises(BadInput, match="division by zero"):
        compile_number("r.A / r.BLANK", LAYOUT)(R)


def test_many_different_numbers_are_read_right_after_one_another() -> None:
    read = compile_number("r.Q", LAYOUT)
    assert [read(record(Q=str(n))) for n in range(10_000)] == list(range(10_000))


@pytest.mark.parametrize(
    "source",
    ["r.A **", "r.A ** 2", "foo", "r.A.b", "range(3)", "r.A|int(1)", "r.A|max", "r.A|safe", "{}", "r[0]",
     "r.keys()", "lambda: 1",
     "r.A is odd", "r.A|replace('x')", "r.A|trim(x)", "r.A|replace(old='a', new='b')", "r", "r.A[r.B]", "''.join(r)",
     "r.A b", "", "(" * 5000],
)  # fmt: skip
def test_what_is_not_of_the_language_is_refused_when_it_is_compiled(source: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_text(source, LAYOUT)
    assert repr(source) in caught.value.what


def test_a_column_that_does_not_exist_is_named() -> None:
    with pytest.raises(BadInput) as caught:
        compile_number("r.A - r.RESERVE", LAYOUT, ("A", "B"))
    assert caught.value.where.field == "RESERVE"


def test_an_inner_record_reaches_its_parent() -> None:
    inner, outer = record(SIZE="M"), record(CODE="ART")
    inner.parent = outer
    assert compile_text("r.parent.CODE ~ '-' ~ r.SIZE", LAYOUT)(inner) == "ART-M"
    with pytest.raises(ConfigurationError, match="not inside another record"):
        compile_text("r.parent.CODE", LAYOUT)(outer)


def test_fields_that_a_computed_name_hides_stay_in_raw() -> None:
    r = record(stock="5", other="x")
    r.compute({"stock": 3, "sku": "A"}, frozenset({"stock", "sku"}))
    assert r["stock"] == 3
    assert dict(r.raw) == {"stock": "5", "other": "x"}
    assert "sku" not in r.raw
    r.compute({"stock": 2}, frozenset({"stock"}))
    assert r.raw["stock"] == "5"
    assert compile_text("r.raw.stock", LAYOUT)(r) == "5"


def test_the_fields_an_expression_reads() -> None:
    assert fields_of("r.A - r['$$_B'] * (1 if r.C else 2)", LAYOUT) == {"A", "$$_B", "C"}


def test_every_faulty_expression_of_a_layout_is_found() -> None:
    stocks = (Stocks("V", "baz", "r.Stock"),)
    layout = Layout(
        "x",
        "xml",
        sku="foo",
        product="r.Code",
        stock="r.A **",
        skip=("r.A", "bar"),
        proof=Proof(count="("),
        stocks=stocks,
    )
    assert len(faults(layout)) == 5
    assert faults(Layout("x", "xml", sku="r.A")) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("B - C", "'B' is not known; an expression sees only the record r, a field as r.NAME"),
        ("r", "r is the whole record; a field of it is r.NAME"),
        ("r.A|round", "abs, capitalize, default, first, float, int, last, length, lower, max, min, replace"),
        ("'%05d'|format(r.A|int)", "arguments are constants"),
        ("r.A|default(r.B|trim, true)", "arguments are constants"),
    ],
)
def test_a_refusal_says_what_would_do(source: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        compile_text(source, LAYOUT)
    assert why in caught.value.why


@pytest.mark.parametrize("source", ["r.A == r.B", "not r.A", "r.A is defined", "r.A in ['1']", "(r.A == 'X') * 5"])
def test_yes_or_no_is_no_number_and_that_shows_before_any_file_comes(source: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        compile_number(source, LAYOUT)
    assert "a comparison gives yes or no" in caught.value.why


def test_a_value_inside_a_record_is_placed_by_the_number_of_that_record() -> None:
    inner = Record({"Q": "two"})
    inner.line, inner.parent = 9, R
    with pytest.raises(BadInput) as caught:
        compile_number("r.Q", LAYOUT)(inner)
    assert (caught.value.where.line, caught.value.where.record, caught.value.where.field) == (9, 3, "Q")


def test_a_number_of_endless_digits_is_refused_for_its_length() -> None:
    with pytest.raises(BadInput, match="longer than the 100 characters a number may have"):
        compile_number("r.A", LAYOUT)(record(A="1" * 101))
