"""How the command line prints: tables, JSON, errors in one line, exit codes."""

from __future__ import annotations

import json

import click
import pytest

from cegid_daemon.cli import output
from cegid_daemon.cli.root import code_of
from cegid_daemon.errors import (
    AlreadyRunning,
    BadInput,
    CegidDaemonError,
    ConfigurationError,
    JournalDamaged,
    JournalMissing,
    JournalNewer,
    JournalUnavailable,
    Place,
    Refused,
    Transient,
)


def test_a_fault_of_the_configuration_reads_file_line_key_what_why_and_remedy() -> None:
    where = Place(file="shop.toml", line=7, field="store.main.stock_buffer")
    fault = ConfigurationError("must be 0 or more", where=where, why="-1 is less", remedy="Correct it.")
    assert output.fault_line(fault) == (
        "shop.toml:7: store.main.stock_buffer: must be 0 or more: -1 is less. Correct it."
    )


def test_a_fault_without_a_known_line_still_names_file_and_key() -> None:
    fault = ConfigurationError("'layout' is missing", where=Place(file="shop.toml", field="route.x.layout"))
    assert output.fault_line(fault) == "shop.toml: route.x.layout: 'layout' is missing"


def test_every_fault_of_a_configuration_is_told_not_only_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    faults = tuple(ConfigurationError(f"fault {number}", where=Place(file="x", line=number)) for number in (1, 2, 3))
    output.tell(ConfigurationError("the configuration has 3 faults", faults=faults))
    assert capsys.readouterr().err.splitlines() == ["x:1: fault 1", "x:2: fault 2", "x:3: fault 3"]


def test_an_error_is_one_line_whatever_a_file_name_or_a_password_tries(capsys: pytest.CaptureFixture[str]) -> None:
    output.tell(Refused("no\nforged line \x1b[31m", why="sftp://shop:hunter2@host/x does not answer"))
    told = capsys.readouterr().err
    assert told == "cegid-daemon: no forged line \\x1b[31m: sftp://shop:***@host/x does not answer\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), 2),
        (AlreadyRunning("x"), 3),
        (JournalDamaged("x"), 4),
        (JournalMissing("x"), 4),
        (JournalNewer("x"), 4),
        (JournalUnavailable("x"), 75),
        (Refused("x"), 1),
        (BadInput("x"), 1),
        (Transient("x"), 1),
    ],
)
def test_each_kind_of_error_ends_with_its_exit_code(error: CegidDaemonError, code: int) -> None:
    assert code_of(error) == code


def test_rows_are_one_json_array_also_when_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json_rows([])
    assert json.loads(capsys.readouterr().out) == []
    output.print_json_rows({"n": number, "text": "é"} for number in range(3))
    printed = capsys.readouterr().out
    assert [row["n"] for row in json.loads(printed)] == [0, 1, 2]
    assert "é" in printed


def test_a_table_sets_numbers_to_the_right_and_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("ID", "NAME"), [(1, "a\tb"), (100, None)])
    assert capsys.readouterr().out.splitlines() == [" ID  NAME", "  1  a b", "100"]


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("ID", "NAME"), [])
    assert capsys.readouterr().out == "ID  NAME\n"


def test_no_progress_bar_is_drawn_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress(10, "Reading") as bar:
        bar.update(5)
    assert capsys.readouterr() == ("", "")
    assert isinstance(bar, click._termui_impl.ProgressBar)


def test_a_long_table_has_one_head_and_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("ID",), ((number,) for number in range(2_500)))
    assert capsys.readouterr().out.split() == ["ID", *map(str, range(2_500))]
