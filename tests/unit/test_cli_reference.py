"""The help of every command, and the page made out of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cegid_daemon.cli.reference import reference
from cegid_daemon.cli.root import cegid_daemon

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = {
    "init", "check", "run", "once", "status", "rewrite", "log", "replay", "release", "discard", "buffers", "catalogue",
    "settings", "backup", "demo", "hash-password", "claim-folder",
}  # fmt: skip
DATA = ["check", "once", "status", "rewrite", "log list", "log show", "log diff", "log search", "log prune", "replay",
        "release", "discard", "buffers list", "buffers get", "buffers import", "buffers history", "catalogue import",
        "catalogue get", "settings get", "backup", "init", "hash-password", "claim-folder"]  # fmt: skip


def every(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    for name, inner in getattr(command, "commands", {}).items():
        yield from every(inner, *names, name)


def test_the_page_is_what_the_commands_say_of_themselves() -> None:
    assert (DOCS / "cli.md").read_text("utf-8") == reference(), "run: make reference"


def test_the_commands_are_those_of_the_contract_and_no_other() -> None:
    assert set(cegid_daemon.commands) == COMMANDS


@pytest.mark.parametrize("names", [pytest.param(names, id=" ".join(names) or "root") for names in every(cegid_daemon)])
def test_every_command_has_help(names: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cegid_daemon, [*names, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output
    assert "--help" in done.output


@pytest.mark.parametrize("names", DATA)
def test_every_command_that_prints_data_prints_json(names: str) -> None:
    assert "--json" in CliRunner().invoke(cegid_daemon, [*names.split(), "--help"]).output


def test_help_loads_no_room_of_the_daemon() -> None:
    heavy = ["pydantic", "sqlite_utils", "lxml", "jinja2", "watchdog", "paramiko"]
    code = f"import sys, cegid_daemon.cli.root; print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
