"""What each template filter accepts, changes, counts and refuses."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from cegid_daemon.errors import TemplateFault
from cegid_daemon.rewrite import filters


def test_fit_keeps_what_fits_and_refuses_what_does_not():
    assert filters.fit("x" * 35, 35) == "x" * 35
    with pytest.raises(TemplateFault, match="36 characters does not fit into 35") as caught:
        filters.fit("x" * 36, 35, field="LIBELLE")
    assert caught.value.where.field == "LIBELLE"


def test_fit_with_cut_cuts_and_counts():
    notes: Counter[str] = Counter()
    with filters.reading(".", lambda text: notes.update([text])):
        assert filters.fit("abcdef", 3, True, field="LIBELLE") == "abc"
        assert filters.fit("abc", 3, True, field="LIBELLE") == "abc"
    assert notes == {"cut to 3: LIBELLE": 1}


def test_fit_measures_numbers_as_they_print():
    assert filters.fit(Decimal("1E+2"), 3) == "100"
    assert filters.fit(None, 3) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [("3.5", "3,50"), (Decimal("12"), "12,00"), (7, "7,00"), ("-0.001", "0,00"), (" 1.10 ", "1,10"), (0.1, "0,10"),
     ("2.675", "2,68"), ("-2.675", "-2,68")],
)  # fmt: skip
def test_decimal_writes_exactly_so_many_decimals(value, text):
    assert filters.decimal(value, 2, ",", "round") == text


def test_decimal_never_rounds_in_silence():
    assert filters.decimal("12.3400", 2, ",") == "12,34"
    with pytest.raises(TemplateFault, match=r"12\.345 has more than 2 decimals"):
        filters.decimal("12.345", 2, ",")
    assert filters.decimal("12.345", 2, ",", "floor") == "12,34"
    assert filters.decimal("12.341", 2, ",", "ceil") == "12,35"


def test_numbers_in_text_bear_the_decimal_mark_of_the_layout():
    with filters.reading(",", lambda _: None):
        assert filters.decimal("1,000", 2) == "1.00"
        assert filters.decimal(Decimal("1.5"), 2) == "1.50"
        with pytest.raises(TemplateFault, match="is not a number"):
            filters.decimal("1.000", 2)


@pytest.mark.parametrize("value", ["", "  ", None, "\u00a0"])
def test_blanks_stay_blank(value):
    assert filters.decimal(value) == filters.whole(value) == filters.ean(value) == filters.cegid_date(value) == ""


@pytest.mark.parametrize("value", ["twelve", "1e3", "1 000", "NaN", "٣", True])
def test_what_is_no_number_is_refused(value):
    for one in (filters.decimal, filters.whole):
        with pytest.raises(TemplateFault, match="is not a number"):
            one(value)


def test_whole_refuses_a_fraction_unless_told_what_to_do():
    assert filters.whole("8.00") == 8
    with pytest.raises(TemplateFault, match=r"8\.5 is not whole"):
        filters.whole("8.5", field="QTE")
    assert [filters.whole("8.5", how) for how in ("floor", "ceil", "round")] == [8, 9, 9]
    assert [filters.whole("-8.5", how) for how in ("floor", "ceil", "round")] == [-9, -8, -9]


def test_an_unknown_way_to_round_is_refused():
    with pytest.raises(TemplateFault, match="'up' is no way to round"):
        filters.whole("8.5", "up")


@pytest.mark.parametrize(
    "value",
    ["2017-12-16T23:56:48+00:00", "2017-12-16T23:56:48Z", "2017-12-16 08:13:55", "2017-12-16", date(2017, 12, 16),
     datetime(2017, 12, 16, 1, tzinfo=UTC)],
)  # fmt: skip
def test_cegid_date_takes_the_dates_that_stores_write(value):
    assert filters.cegid_date(value) == "16122017"
    assert filters.cegid_date(value, "%d/%m/%Y") == "16/12/2017"


def test_cegid_date_writes_no_date_for_the_zero_date():
    assert filters.cegid_date("0000-00-00 00:00:00") == ""


@pytest.mark.parametrize("value", ["02031201", "16/12/2017", "2017-13-01", "2017-W01-1", "yesterday"])
def test_cegid_date_refuses_what_could_be_misread(value):
    with pytest.raises(TemplateFault, match="is no date"):
        filters.cegid_date(value, field="DateCreated")


@pytest.mark.parametrize("code", ["4006381333931", "96385074", "036000291452", "0036000291452", "10614141000415"])
def test_ean_keeps_a_proved_code_as_it_came(code):
    assert filters.ean(f" {code} ") == code


@pytest.mark.parametrize("code", ["4006381333932", "400638133393", "ABC", "٤006381333931", "4006381333931X"])
def test_ean_refuses_a_code_that_does_not_prove(code):
    with pytest.raises(TemplateFault, match="is no EAN"):
        filters.ean(code)


def test_flat_blanks_what_would_break_a_row_and_counts_it():
    notes: Counter[str] = Counter()
    with filters.reading(".", lambda text: notes.update([text])):
        assert filters.flat("a;b\r\nc\td\0e\u2028f", ";", field="LIBELLE") == "a b  c d e f"
        assert filters.flat("plain", field="LIBELLE") == "plain"
        assert filters.flat("a|b;c", "|") == "a b;c"
    assert notes == {"flattened: LIBELLE": 1, "flattened": 1}


@pytest.mark.parametrize("value", ["00077", 0, 7, Decimal("0.0"), " x "])
def test_what_is_needed_passes_as_it_is(value):
    assert filters.needed(value, field="CustomerID") is value


@pytest.mark.parametrize("value", ["", " ", "\u00a0\t", None])
def test_what_is_needed_must_not_be_blank(value):
    with pytest.raises(TemplateFault, match="is blank that the receiver needs") as caught:
        filters.needed(value, field="CustomerID")
    assert caught.value.where.field == "CustomerID"
