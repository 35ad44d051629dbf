"""CSV files that go into and come out of the buffer book.

Owns how an operator's file is read: a title row that names the columns in any order, `,` or `;` or tab between them,
UTF-8 or cp1252, any line ends. What the rows mean is the book's to say.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol

import click

from cegid_daemon.cli.opening import Invocation, who
from cegid_daemon.cli.output import note, one_line, plural, print_json, progress, say
from cegid_daemon.errors import BadInput, Place, Refused
from cegid_daemon.files import write_atomically
from cegid_daemon.spreadsheets import SheetWriter, unguarded

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from cegid_daemon.journal.book import BufferBook
    from cegid_daemon.journal.intake import ImportReport

_LINES_A_STEP = 2_000


class Merge(Protocol):
    """`BufferBook.import_rows` or `import_catalogue`."""

    def __call__(
        self, rows: Iterator[tuple[Any, ...]], /, *, who: str, origin: str, now: datetime, stores: Collection[str]
    ) -> ImportReport:
        """Merges rows."""


@dataclass(slots=True)
class Sheet:
    """A CSV file being read; `ragged` are the lines whose number of columns is not that of the title row."""

    file: Path
    columns: Sequence[str]
    ragged: list[int] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """`(line, value, …)` with the values in the order of `columns`. Raises BadInput, Refused."""
        size = self.file.stat().st_size
        with self._opened() as (raw, text), progress(size, f"Reading {self.file.name}") as bar:
            reader = csv.reader(text, delimiter=self._delimiter(text), strict=False)
            places, width = self._places(next(reader, []))
            for values in reader:
                if reader.line_num % _LINES_A_STEP == 0:
                    bar.update(max(0, raw.tell() - bar.pos))
                if len(values) == width:
                    yield (reader.line_num, *(unguarded(values[at]) for at in places))
                elif any(value.strip() for value in values):
                    self.ragged.append(reader.line_num)

    @contextmanager
    def _opened(self) -> Iterator[tuple[IO[bytes], IO[str]]]:
        try:
            with self.file.open("rb") as raw, io.TextIOWrapper(raw, self._encoding(), newline="") as text:
                yield raw, text
        except OSError as error:
            raise Refused(
                "the file cannot be read", where=Place(file=str(self.file)), why=error.strerror or ""
            ) from error
        except csv.Error as error:
            raise BadInput("the file is no CSV", where=Place(file=str(self.file)), why=str(error),
                           remedy="Nothing was imported. Save it as CSV.") from error  # fmt: skip

    def _encoding(self) -> str:
        """UTF-8 where the whole file is, else cp1252: what spreadsheets write."""
        with self.file.open(encoding="utf-8-sig", newline="") as text:
            try:
                while text.read(1 << 20):
                    pass
            except UnicodeDecodeError:
                return "cp1252"
        return "utf-8-sig"

    def _delimiter(self, text: IO[str]) -> str:
        titles = text.readline()
        text.seek(0)
        return max(",;\t", key=titles.count)

    def _places(self, titles: Sequence[str]) -> tuple[list[int], int]:
        found = [title.strip().lower() for title in titles]
        missing = [name for name in self.columns if name not in found]
        if missing:
            raise BadInput(
                f"the title row lacks {', '.join(missing)}", where=Place(file=str(self.file), line=1),
                remedy=f"Begin the file with: {','.join(self.columns)}",
            )  # fmt: skip
        return [found.index(name) for name in self.columns], len(titles)


def merge(ctx: click.Context, sheet: Sheet, what: str, as_json: bool, into: Callable[[BufferBook], Merge]) -> NoReturn:
    """Takes a sheet into the book, says what came of it, and ends the command: 1 if a row could not be taken."""
    from cegid_daemon.bootstrap import utc_now

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    with invocation.writing(config) as journal:
        report = into(journal.book)(
            sheet.rows(), who=who(), origin=f"{what} {sheet.file.name}", now=utc_now(), stores=config.stores
        )
    if as_json:
        print_json({
            **account_of(report), "rows": report.read + len(sheet.ragged),
            "malformed_count": report.malformed_count + len(sheet.ragged), "ragged_lines": sheet.ragged,
        })  # fmt: skip
    else:
        tell_import(sheet.file, report, sheet.ragged)
    ctx.exit(1 if report.malformed_count or sheet.ragged else 0)


def account_of(report: ImportReport) -> dict[str, Any]:
    """What an import did, as JSON."""
    return {
        "rows": report.read, "written": report.written, "revision": report.revision,
        "ignored_count": report.ignored_count, "malformed_count": report.malformed_count,
        "ignored": report.ignored, "malformed": report.malformed, "unset": report.unset,
    }  # fmt: skip


def tell_import(file: Path, report: ImportReport, ragged: Sequence[int] = ()) -> None:
    """Says what an import did, each remark with its line."""
    for remark in sorted([*report.ignored, *report.malformed], key=lambda one: one.line):
        note(one_line(f"{file}:{remark.line}: {remark}"))
    for remark in report.unset:
        note(one_line(f"{file}: {remark}"))
    for line in ragged:
        note(f"{file}:{line}: not as many columns as the title row")
    revision = f", revision {report.revision}" if report.revision else ""
    say(f"{plural(report.read + len(ragged), 'row')}: {report.written} changed{revision}, "
        f"{report.ignored_count} ignored, {report.malformed_count + len(ragged)} malformed.")  # fmt: skip


@contextmanager
def writing_csv(output: Path | None, columns: Sequence[str]) -> Iterator[SheetWriter]:
    """A writer of a sheet on stdout or a file, which appears whole."""
    if output is None:
        writer = SheetWriter(sys.stdout)
        writer.writerow(columns)
        yield writer
        return
    with write_atomically(output) as opened:
        text = io.TextIOWrapper(opened, encoding="utf-8", newline="", write_through=True)
        writer = SheetWriter(text)
        writer.writerow(columns)
        yield writer
        text.detach()


def export(output: Path | None, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes rows under a title row that the import takes again."""
    with writing_csv(output, columns) as writer:
        writer.writerows(rows)
    if output is not None:
        click.echo(str(output), err=True)
