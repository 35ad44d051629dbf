"""CSV import of buffers: first a preview that changes nothing, a word on every line that needs one, then the import.

The file waits in the spool between the two, under a name only the session knows; what is imported is what was seen.
"""

from __future__ import annotations

import csv
import io
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO, TextIO

from starlette.datastructures import UploadFile
from starlette.responses import Response

from cegid_daemon.console.ground import Ground, Reading
from cegid_daemon.console.turns import Turns
from cegid_daemon.console.uploads import spooled
from cegid_daemon.console.visit import Visit, back
from cegid_daemon.errors import Refused
from cegid_daemon.journal.book import Buffer
from cegid_daemon.journal.intake import BufferRow, ImportReport, fit_buffers
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.rewrite.buffers import parse
from cegid_daemon.spreadsheets import unguarded

COLUMNS = ["store", "level", "key", "value"]
_TURN_SECONDS = 60.0
_turns = Turns("the import of buffers", _TURN_SECONDS)  # one at a time: each needs memory for all its keys
_SHOWN = 200  # changes and remarks that a page lists


@dataclass(slots=True)
class Preview:
    """What an import would do."""

    report: ImportReport
    changed: int = 0
    same: int = 0
    examples: list[tuple[str, str, str, str, str]] = field(default_factory=list)  # store, level, key, now, then

    def add(self, store: str, level: str, key: str, buffer: Buffer | None, value: str) -> None:
        """One buffer as it is now, and the value it would have."""
        now = buffer.value if buffer else ""
        if now == value:
            self.same += 1
            return
        self.changed += 1
        if len(self.examples) < _SHOWN:
            self.examples.append((store, level, key, now, value))


def ask(visit: Visit) -> Response:
    """The form."""
    return visit.page("import.html", preview=None, name="", shown=_SHOWN)


def preview(visit: Visit) -> Response:
    """Reads the file, and shows what it would change."""
    upload = visit.form.get("file") if visit.form is not None else None
    if not isinstance(upload, UploadFile) or not upload.filename:
        raise Refused(
            "no file was chosen", remedy="Go back and choose a CSV file with the columns store,level,key,value."
        )
    _drop(visit)
    token = secrets.token_hex(16)
    path = _path(visit.ground, token)
    path.touch(mode=0o600)
    try:
        with path.open("wb") as kept:
            shutil.copyfileobj(upload.file, kept)
        with _turns.take(), visit.reading() as reading, path.open("rb") as opened:
            found = previewed(reading, rows_of(opened), set(visit.ground.config.stores))
    except BaseException:
        path.unlink()
        raise
    visit.session.upload = token
    return visit.page("import.html", preview=found, name=upload.filename, shown=_SHOWN, sets=_sets)


def _sets(value: str) -> bool:
    """Whether a value holds units back, zero of them too; any other unsets."""
    return parse(value) is not None


def rows_of(source: bytes | BinaryIO) -> Iterator[BufferRow]:
    """Rows with their lines, read as they are asked for. Raises Refused where the file is no such table."""
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    encoding = encoding_of(opened.read(HEAD))
    opened.seek(0)
    text = io.TextIOWrapper(opened, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
    try:
        return _cells(_table(text), text)
    except BaseException:
        text.detach()  # the file is its owner's to close
        raise


def _table(text: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The rows behind the titles."""
    try:
        head = text.readline().removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        raise _unreadable(1, exc) from exc
    reader = csv.reader(chain([head], text), delimiter=";" if head.count(";") > head.count(",") else ",")
    rows = _numbered(reader)
    titles = [title.strip().lower() for title in next(rows, (0, []))[1]]
    if titles != COLUMNS:
        raise Refused("the first line does not name the columns", why=f"it reads {head[:100]!r}",
                      remedy="It must be store,level,key,value.")  # fmt: skip
    return rows


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for line in count(1):
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as exc:
            raise _unreadable(line, exc) from exc
        yield line, row


def _unreadable(line: int, exc: Exception) -> Refused:
    return Refused("the file cannot be read as a table", why=f"row {line}: {exc}",
                   remedy="Save it as CSV in UTF-8, without cells of more than 100,000 characters.")  # fmt: skip


def _cells(rows: Iterator[tuple[int, list[str]]], text: io.TextIOWrapper) -> Iterator[BufferRow]:
    try:
        for line, row in rows:
            if row:
                store, level, key, value = map(unguarded, [*row, "", "", "", ""][:4])
                yield line, store, level, key, value
    finally:
        with suppress(ValueError):  # its file is closed already
            text.detach()


def previewed(reading: Reading, rows: Iterator[BufferRow], stores: set[str]) -> Preview:
    """What the rows would change. The last row of a key counts."""
    found = Preview(ImportReport())
    values: dict[str, str] = {}  # each once: there are few, and rows by the million
    wanted: dict[tuple[str, str], dict[str, str]] = {}
    for store, level, key, value in fit_buffers(_counted(rows, found.report), stores, found.report):
        wanted.setdefault((store, level), {})[key] = values.setdefault(value, value)
    for (store, level), keys in wanted.items():
        for key, value in keys.items():
            found.add(store, level, key, reading.book.get(store, level, key), value)
    return found


def _counted(rows: Iterator[BufferRow], report: ImportReport) -> Iterator[BufferRow]:
    for row in rows:
        report.read += 1
        yield row


def apply(visit: Visit) -> Response:
    """Imports the file whose preview this session has seen."""
    path = _path(visit.ground, visit.session.upload)
    if not visit.session.upload or not path.is_file():
        raise Refused("there is no preview to import", why="it was imported already, or the daemon was restarted",
                      remedy="Choose the file again.")  # fmt: skip
    ground, name = visit.ground, visit.typed("name")[:200]
    with _turns.take(), path.open("rb") as opened:
        report = ground.journal.book.import_rows(
            rows_of(opened), who=visit.who, origin=f"console import {name}", now=ground.clock(),
            stores=set(ground.config.stores),
        )  # fmt: skip
    _drop(visit)
    told = f"{report.read} lines read, {report.written} buffers changed"
    return back(
        visit, "/buffers", f"{told}, {report.ignored_count} values ignored, {report.malformed_count} lines refused."
    )


def _path(ground: Ground, token: str) -> Path:
    return spooled(ground.spool, token)


def _drop(visit: Visit) -> None:
    if visit.session.upload:
        _path(visit.ground, visit.session.upload).unlink(missing_ok=True)
        visit.session.upload = ""
