"""CSV that people open: no cell is a formula, and an import takes off exactly what an export added."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cegid_daemon.cli.sheets import Sheet, export
from cegid_daemon.console.bufferpages import _lines
from cegid_daemon.console.importpages import rows_of
from cegid_daemon.pipeline.answering import _rejects
from cegid_daemon.pipeline.envelopes import Key, Refusal
from cegid_daemon.spreadsheets import SheetWriter, guarded, unguarded

ACTIVE = ("=1+1", "+1", "-1", "@SUM(A1)", "\ta", "\ra", "\na", " =1", "\xa0=1", "\uff1d1", "'=1", "''-1", "\ufeff=1",
          "\u200b =1", "\x00=1", "\x7f-1")  # fmt: skip
TEXTS = st.text(st.one_of(st.sampled_from("'=+-@\t\r\n ,;\"a1"), st.characters(exclude_categories=["Cs"])), max_size=12)


@pytest.mark.parametrize("text", ACTIVE)
def test_a_cell_that_would_be_a_formula_begins_with_a_mark(text):
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("A;=1", "A;'=1"), ("A,=1", "A,'=1"), ("A\t=1", "A\t'=1"), ("A\n=1", "A\n'=1"), ("A\r\n=1", "A\r\n'=1"),
        (";=1", ";'=1"), ("A; =1", "A;' =1"), ('A;"=1"', "A;'\"=1\""), ("A;'=1", "A;''=1"), ("=1;=2", "'=1;'=2"),
        ("A;B;-1,+2", "A;B;'-1,'+2"), ("\t;=1", "'\t;'=1"), ("A;\uff1d1", "A;'\uff1d1"),
        ("\t=1", "'\t'=1"), ("'\n=1", "''\n'=1"), (" \t\r\n -1", "' \t\r\n' -1"), ("A;\ufeff=1", "A;'\ufeff=1"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula_where_a_spreadsheet_has_another_separator(text, cell):
    assert guarded(text) == cell
    assert unguarded(cell) == text


@given(TEXTS)
def test_whatever_the_separator_no_cell_begins_with_a_formula(text):
    for one in re.split("[,;\t\r\n]", guarded(text)):
        assert not re.match(r'[\s"]*[=+\-@]', one), one


@pytest.mark.parametrize("text", ["", "1", "A-1", "0.5", "a=b", "'", "'quoted'", "\u2019=1"])
def test_any_other_cell_stays_as_it_is(text):
    assert guarded(text) == unguarded(text) == text


@given(TEXTS)
@example("'=1")
@example("'")
@example(" \t;'\n'=")
@example("';=")
def test_what_is_read_back_is_what_was_written(text):
    assert unguarded(guarded(text)) == text
    assert not guarded(text).lstrip()[:1] or guarded(text).lstrip()[:1] not in "=+-@"


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_a_file_of_the_command_line_comes_back_cell_by_cell(tmp_path_factory, pairs):
    file = tmp_path_factory.mktemp("sheet") / "sheet.csv"
    export(file, ("store", "key", "value"), [("main", key, value) for key, value in pairs])
    assert [row[2:] for row in Sheet(file, ("store", "key", "value")).rows()] == pairs


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_a_file_of_the_console_comes_back_cell_by_cell(pairs):
    rows = [("store", "level", "key", "value"), *(("main", "variation", key, value) for key, value in pairs)]
    assert [row[3:] for row in rows_of(_lines(rows))] == pairs


def test_an_exported_file_is_its_owner_s_alone(tmp_path: Path):
    file = tmp_path / "sheet.csv"
    file.write_text("older")
    file.chmod(0o644)
    export(file, ("store", "key"), [("main", "A")])
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_list_of_rejects_holds_no_formula():
    text = _rejects([Refusal("1", Key("VariationReference", "=HYPERLINK(1)"), "-cmd|' /C calc'!A0")]).decode()
    assert "\r\n1;'=HYPERLINK(1);'-cmd|' /C calc'!A0\r\n" in text


def test_a_cell_that_is_no_text_is_left_alone():
    text = io.StringIO()
    SheetWriter(text).writerow([-5, None, "-5"])
    assert text.getvalue() == "-5,,'-5\n"
