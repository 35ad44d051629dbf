"""CSV import of buffers: first a preview that changes nothing, a word on every line that needs one, then the import.

The file waits in the spool between the two, under a name only the session knows; what is imported is what was seen.
"""

from __future__ import annotations

import csv
import io
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.responses import Response

from cegid_daemon.console.ground import Ground, Reading
from cegid_daemon.console.visit import Visit, back
from cegid_daemon.errors import Refused
from cegid_daemon.journal.intake import BufferRow, ImportReport, fit_buffers
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.rewrite.buffers import parse
from cegid_daemon.spreadsheets import unguarded

COLUMNS = ["store", "level", "key", "value"]
_SHOWN = 200  # changes and remarks that a page lists


@dataclass(slots=True)
class Preview:
    """What an import would do."""

    report: ImportReport
    changed: int = 0
    same: int = 0
    examples: list[tuple[str, str, str, str, str]] = field(default_factory=list)  # store, level, key, now, then


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
    body = upload.file.read()
    rows = rows_of(body)
    _drop(visit)
    token = secrets.token_hex(16)
    path = _path(visit.ground, token)
    path.touch(mode=0o600)
    path.write_bytes(body)
    visit.session.upload = token
    with visit.reading() as reading:
        found = previewed(reading, rows, set(visit.ground.config.stores))
    return visit.page("import.html", preview=found, name=upload.filename, shown=_SHOWN, sets=_sets)


def _sets(value: str) -> bool:
    """Whether a value holds units back, zero of them too; any other unsets."""
    return parse(value) is not None


def rows_of(body: bytes) -> Iterator[BufferRow]:
    """Rows with their lines. Raises Refused where the file is no such table."""
    encoding = encoding_of(body[:HEAD])
    try:
        text = body.decode("utf-8-sig" if encoding == "utf-8" else encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        raise Refused("the file is not text", why=str(exc), remedy="Save it as CSV in UTF-8.") from exc
    head = text[: text.find("\n")] if "\n" in text else text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    titles = [title.strip().lower() for title in next(reader, [])]
    if titles != COLUMNS:
        raise Refused("the first line does not name the columns", why=f"it reads {head[:100]!r}",
                      remedy="It must be store,level,key,value.")  # fmt: skip
    return _numbered(reader)


def _numbered(reader: Iterator[list[str]]) -> Iterator[BufferRow]:
    line = 1
    for row in reader:
        line += 1
        if row:
            store, level, key, value = map(unguarded, [*row, "", "", "", ""][:4])
            yield line, store, level, key, value


def previewed(reading: Reading, rows: Iterator[BufferRow], stores: set[str]) -> Preview:
    """What the rows would change. The last row of a key counts."""
    found = Preview(ImportReport())
    wanted: dict[tuple[str, str, str], str] = {}
    for row in fit_buffers(_counted(rows, found.report), stores, found.report):
        store, level, key, value = row
        wanted[store, level, key] = value
    for (store, level, key), value in wanted.items():
        buffer = reading.book.get(store, level, key)
        now = buffer.value if buffer else ""
        if now == value:
            found.same += 1
            continue
        found.changed += 1
        if len(found.examples) < _SHOWN:
            found.examples.append((store, level, key, now, value))
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
    report = ground.journal.book.import_rows(
        rows_of(path.read_bytes()), who=visit.who, origin=f"console import {name}", now=ground.clock(),
        stores=set(ground.config.stores),
    )  # fmt: skip
    _drop(visit)
    told = f"{report.read} lines read, {report.written} buffers changed"
    return back(
        visit, "/buffers", f"{told}, {report.ignored_count} values ignored, {report.malformed_count} lines refused."
    )


def _path(ground: Ground, token: str) -> Path:
    """Made of a token of our own only."""
    return ground.config.state / "spool" / f"console-import-{token}.csv"


def sweep(state: Path, seconds: float) -> None:
    """Removes previews that nobody confirmed for so long."""
    for path in (state / "spool").glob("console-import-*.csv"):
        if time.time() - path.stat().st_mtime >= seconds:
            path.unlink(missing_ok=True)


def _drop(visit: Visit) -> None:
    if visit.session.upload:
        _path(visit.ground, visit.session.upload).unlink(missing_ok=True)
        visit.session.upload = ""
