"""How commands print: results on stdout, everything beside them on stderr.

Owns tables, JSON, progress bars and the one-line form of errors. Texts from outside (file names, errors) are printed
with control characters escaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, is_dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cegid_daemon.errors import CegidDaemonError, ConfigurationError
from cegid_daemon.logs import masked, printable

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

F = TypeVar("F", bound=Callable[..., Any])
STDOUT = "-"
_BLOCK = 1_000  # rows of a table printed at once


def json_option(command: F) -> F:
    """Gives a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


class ResultPath(click.Path):
    """Where a result goes; `-` is stdout, as if nothing was named (`./-` is a file of that name)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; None for stdout."""
        return None if value == STDOUT else super().convert(value, param, ctx)


def output_option(
    help_text: str = "Where to write.", *, metavar: str = "FILE", folders: bool = True
) -> Callable[[F], F]:
    """Gives a command `--output`."""
    where = ResultPath(dir_okay=folders, path_type=Path)
    said = f"{help_text} stdout unless named, or with -."
    return click.option("--output", "-o", type=where, metavar=metavar, help=said)


def say(text: str = "") -> None:
    """A line of the result."""
    click.echo(printable(text))


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    click.echo(printable(text), err=True)


def tell(error: CegidDaemonError) -> None:
    """An error on stderr: a line, or one for each fault of a configuration."""
    if isinstance(error, ConfigurationError) and error.faults:
        for fault in error.faults:
            click.echo(fault_line(fault), err=True)
    else:
        click.echo(f"cegid-daemon: {one_line(str(error))}", err=True)


def fault_line(fault: CegidDaemonError) -> str:
    """A fault of the configuration as editors read it: `file:line: key: what: why. remedy`."""
    where = fault.where
    place = where.file or "configuration"
    if where.line:
        place += f":{where.line}" + (f":{where.column}" if where.column else "")
    text = str(type(fault)(fault.what, why=fault.why, remedy=fault.remedy))
    return one_line(": ".join(filter(None, (place, where.field, text))))


def fault_json(fault: CegidDaemonError) -> dict[str, Any]:
    """A fault for `--json`."""
    where = fault.where
    return {
        "file": where.file, "line": where.line or None, "key": where.field or None, "what": fault.what,
        "why": fault.why, "remedy": fault.remedy,
    }  # fmt: skip


def one_line(text: str) -> str:
    """The text on one line, fit for a terminal."""
    return printable(masked(" ".join(text.split())))


def print_json(value: Any) -> None:
    """A value as JSON; dataclasses as objects."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_json_rows(rows: Iterable[Any]) -> None:
    """Any number of rows as one JSON array, a row a line."""
    lead = "[\n  "
    for row in rows:
        click.echo(lead + json.dumps(row, ensure_ascii=False, default=_plain), nl=False)
        lead = ",\n  "
    click.echo("[]" if lead.startswith("[") else "\n]")


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Any number of rows under a head; numbers to the right. Widths are those of a thousand rows at a time."""
    cells = ([("" if cell is None else one_line(str(cell))) for cell in row] for row in rows)
    _print_block(columns, list(islice(cells, _BLOCK)), head=True)
    while block := list(islice(cells, _BLOCK)):
        _print_block(columns, block, head=False)


def _print_block(columns: Sequence[str], body: Sequence[Sequence[str]], *, head: bool) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *body, strict=True)]
    right = [bool(body) and all(row[at].isdigit() or not row[at] for row in body) for at in range(len(columns))]
    for line in (columns, *body) if head else body:
        cells = (cell.rjust(width) if to_the_right else cell.ljust(width)
                 for cell, width, to_the_right in zip(line, widths, right, strict=True))  # fmt: skip
        click.echo("  ".join(cells).rstrip())


def progress(length: int, label: str) -> AbstractContextManager[ProgressBar[int]]:
    """A progress bar on stderr, where a person watches; `update(n)` moves it on."""
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
