"""`rewrite`: the rewriting alone, on a file. Nothing is recorded, nothing is sent."""

from __future__ import annotations

import io
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cegid_daemon.cli.opening import Invocation, complete_routes, configured, known_routes
from cegid_daemon.cli.output import json_option, note, output_option, plural, print_json, progress
from cegid_daemon.errors import Place, Refused
from cegid_daemon.files import write_atomically
from cegid_daemon.spreadsheets import SheetWriter

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.coverage import Coverage
    from cegid_daemon.rewrite.ports import Book, Job, Rewritten

_CHUNK = 256 << 10


@click.command()
@click.argument("route", shell_complete=complete_routes)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option("Where to write; a folder for several parts.", metavar="OUT")
@json_option
@configured
@click.pass_context
def rewrite(ctx: click.Context, route: str, file: Path, output: Path | None, as_json: bool) -> None:
    """Rewrite FILE as ROUTE would; nothing is sent.

    Today's template and buffers apply, nothing is recorded, and memory and time are bounded as the daemon's are. What
    became of the records is told on stderr. A route that feeds the buffer book gives the buffers it would set, as CSV
    that `buffers import` takes. With --json the account goes to stdout, and the result only to OUT.
    """
    from cegid_daemon.cli.bounds import bounded
    from cegid_daemon.rewrite import rewrite as rewritten
    from cegid_daemon.workshop.orders import Limits

    if as_json and output is None and ctx.get_parameter_source("output") is ParameterSource.COMMANDLINE:
        raise click.UsageError("with --json stdout has the account; name a file or a folder for the result: -o OUT")
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    known_routes(config, (route,))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cegid-daemon-")))
        book = stack.enter_context(_book(invocation, config, route))
        meter = stack.enter_context(reading_file(file))
        scratch = partial(_scratch, folder)
        within = bounded(Limits(), file.stat().st_size, Place(route=route, file=file.name))
        with within, FileSink(folder, config.routes[route].store) as sink:
            done = rewritten(config.recipes[route], _job(config, route, file), meter, book, sink, scratch=scratch)
        written = _put(sink, done, output, to_stdout=not as_json)
    if as_json:
        print_json({**account(done.coverage), "written": written})
    else:
        _tell(done, sink)


def _scratch(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile("w+b", dir=folder)


class FileSink(AbstractContextManager["FileSink"]):
    """Keeps what a rewriting makes in a folder until it is known to be whole."""

    def __init__(self, folder: Path, store: str) -> None:
        self._folder, self._store = folder, store
        self._opened = ExitStack()
        self.parts: list[Path] = []
        self.belonging = 0
        self.buffers: list[tuple[str, str, str, str]] = []

    def part(self, no: int) -> IO[bytes]:
        """Opens part `no`."""
        self.parts.append(self._folder / f"part-{no}")
        return self._opened.enter_context(self.parts[-1].open("wb"))

    def belongs(self, sku: str, product: str) -> None:  # noqa: ARG002
        """Counts a line for the catalogue."""
        self.belonging += 1

    def buffer(self, level: str, key: str, value: str, line: int) -> None:  # noqa: ARG002
        """Keeps one buffer."""
        self.buffers.append((self._store, level, key, value))

    def __exit__(self, *error: object) -> None:
        """Closes what is open. Where the route feeds the buffer book, the buffers become the one part."""
        self._opened.close()
        if self.buffers:
            text = io.StringIO()
            SheetWriter(text).writerows([("store", "level", "key", "value"), *self.buffers])
            self.parts = [self._folder / "buffers"]
            self.parts[0].write_text(text.getvalue(), encoding="utf-8")


class ConfiguredBook:
    """The buffer book where no journal is yet: the first value of the store's buffer, and nothing else."""

    def __init__(self, stock_buffer: int | None) -> None:
        self._stock_buffer = stock_buffer

    def store_buffer(self) -> str | None:
        """The configured first value."""
        return None if self._stock_buffer is None else str(self._stock_buffer)

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002
        """None yet."""
        return {}

    def products(self, products: Collection[str]) -> Mapping[str, str]:  # noqa: ARG002
        """None yet."""
        return {}

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002
        """None yet."""
        return {}

    def exported(self, keys: Sequence[str]) -> Collection[str]:  # noqa: ARG002
        """None yet."""
        return ()


@contextmanager
def _book(invocation: Invocation, config: Config, route: str) -> Iterator[Book]:
    """What applies now, read beside a daemon."""
    from cegid_daemon.journal.book_reader import BookReader
    from cegid_daemon.journal.failures import translate
    from cegid_daemon.journal.reader import connect

    store = config.stores[config.routes[route].store]
    with invocation.reading(config) as journal:
        if journal is None:
            yield ConfiguredBook(store.stock_buffer)
            return
        path, revision = journal.connection.path, journal.book.current_revision()
    raw = connect(path, readonly=True)
    try:
        yield BookReader(raw, store.name, route, revision, 0)
    except sqlite3.DatabaseError as exc:
        if (error := translate(exc, path)) is None:
            raise
        raise error from exc
    finally:
        raw.close()


def _job(config: Config, route: str, file: Path) -> Job:
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.rewrite.ports import Job

    now, known = utc_now(), config.routes[route]
    return Job(
        message_id=0, message_name=known.title, received_at=now, source_name=file.name,
        source_folder=known.source.folder, route=route, store=known.store, now=now,
    )  # fmt: skip


@contextmanager
def reading_file(file: Path) -> Iterator[Callable[[], Iterator[bytes]]]:
    """Opens the file as often as it is asked for; the bar shows how far the longest reading got."""
    size = file.stat().st_size
    with progress(size, f"Reading {file.name}") as bar:

        def chunks() -> Iterator[bytes]:
            at = 0
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    yield chunk
                    at += len(chunk)
                    bar.update(max(0, at - bar.pos))

        yield chunks


def _put(sink: FileSink, done: Rewritten, output: Path | None, *, to_stdout: bool) -> list[str]:
    """Hands over what was made, each file whole or not at all; the paths written."""
    names = [part.name for part in done.parts] or ["buffers.csv"]
    if output is not None and output.is_dir():
        return [_placed(part, output / name) for part, name in zip(sink.parts, names, strict=False)]
    if len(sink.parts) > 1:
        raise Refused(
            f"the result has {len(sink.parts)} parts", where=Place(file=str(output) if output else ""),
            remedy="Name a folder that exists: -o FOLDER.",
        )  # fmt: skip
    if output is not None:
        return [_placed(part, output) for part in sink.parts]
    for part in sink.parts if to_stdout else ():
        with part.open("rb") as opened:
            shutil.copyfileobj(opened, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    return []


def _placed(part: Path, path: Path) -> str:
    with part.open("rb") as made, write_atomically(path) as opened:
        shutil.copyfileobj(made, opened)
    return str(path)


def account(coverage: Coverage) -> dict[str, Any]:
    """A coverage as JSON."""
    return coverage.as_json()


def equation(known: Mapping[str, Any]) -> str:
    """A coverage as a sum that adds up: `5 records = 3 sent + 2 left out (closed: 2) + 0 rejected`."""
    terms = [f"{known['sent']} sent"]
    for name, reasons in (("left out", known["left_out"]), ("rejected", known["rejected"])):
        told = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        terms.append(f"{sum(reasons.values())} {name}" + (f" ({told})" if told else ""))
    return f"{plural(known['read'], 'record')} = {' + '.join(terms)}"


def remark_lines(coverage: Mapping[str, Any]) -> Iterator[str]:
    """What a coverage, as JSON, says beside its sum: the encoding `auto` chose, skipped lines, remarks."""
    from cegid_daemon.coverage import RemarkPlace

    if coverage.get("encoding"):
        yield f"encoding: {coverage['encoding']}"
    for line in coverage.get("skipped", ()):
        yield f"skipped as {line['taken_for']}, line {line['line']}: {line['text']}"
    for remark in coverage.get("remarks", ()):
        yield f"remark: {remark['kind']}: {remark['count']}"
        yield from (f"  {RemarkPlace(**place)}" for place in remark["places"])


def _tell(done: Rewritten, sink: FileSink) -> None:
    known = account(done.coverage)
    note(equation(known))
    for what, times in known["notes"].items():
        note(f"  {what}: {times}")
    for line in remark_lines(known):
        note(f"  {line}")
    if sink.belonging:
        note(f"  new to the catalogue: {plural(sink.belonging, 'variation')}")
    if not sink.parts:
        note("Nothing to send.")
