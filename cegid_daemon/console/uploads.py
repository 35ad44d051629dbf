"""Forms with a file, taken in within bounds: the file goes to the spool as it comes, never into memory.

Owns how much of the disk unfinished imports and those that wait for a confirmation may take in all.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from cegid_daemon.console.gate import LARGEST_BODY

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MOST_SPOOLED = 16 * LARGEST_BODY  # bytes of imports on the disk, those under way counted as the largest there are
_MAX_FIELDS = 10
_MAX_FIELD_BYTES = 4 << 10  # of a field that is no file
_PREFIX, _WHOLE, _COMING = "console-import-", ".csv", ".part"


def spooled(folder: Path, token: str) -> Path:
    """Where an import waits to be confirmed; the token is one of our own."""
    return folder / f"{_PREFIX}{token}{_WHOLE}"


def sweep(folder: Path, seconds: float) -> None:
    """Removes imports that nobody confirmed, or that did not come to their end, for so long."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def _spooled_bytes(folder: Path) -> int:
    sizes = []
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):
            sizes.append(LARGEST_BODY if path.suffix == _COMING else path.stat().st_size)
    return sum(sizes)


async def upload_form(request: Request, folder: Path) -> FormData:
    """The form of a request, its file in the spool. HTTPException 400, 413 or 503 where it cannot be taken.

    The file is gone when the form is closed.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise HTTPException(400, "This form holds a file, and came as something else.")
    if _spooled_bytes(folder) + LARGEST_BODY > _MOST_SPOOLED:
        raise HTTPException(503, "Other imports are under way, or wait to be confirmed. Try again in some minutes.")
    form = _Form(folder)
    try:
        await form.read(MultipartParser(boundary, form.callbacks()), request)
    except ClientDisconnect as error:
        raise HTTPException(413, "The form is too large, or did not come in time.") from error
    except FormParserError as error:
        raise HTTPException(400, "The form cannot be read.") from error
    finally:
        if not form.whole:
            form.close()
    return form.data()


class _Form:
    """A form as it comes: small fields in memory, the one file in the spool."""

    def __init__(self, folder: Path) -> None:
        self.whole = False
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._file_name, self._file_field = "", ""
        self._fields: list[tuple[str, str | UploadFile]] = []
        self._pieces: list[bytes] = []  # of the file, until they are written
        self._head: dict[bytes, bytes] = {}
        self._title, self._text = b"", b""
        self._name: str | None = None  # of the field that is coming; None: it is the file

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin, "on_header_field": self._add_title, "on_header_value": self._add_text,
            "on_header_end": self._end_header, "on_headers_finished": self._end_head, "on_part_data": self._add,
            "on_part_end": self._end,
        }  # fmt: skip

    async def read(self, parser: MultipartParser, request: Request) -> None:
        """Takes the body to its end. Raises FormParserError, ClientDisconnect."""
        async for chunk in request.stream():
            parser.write(chunk)
            if self._file is not None and self._pieces:
                await run_in_threadpool(self._file.writelines, self._pieces)
                self._pieces.clear()
        parser.finalize()
        self.whole = True

    def data(self) -> FormData:
        """The fields; closing it removes the file."""
        if self._file is None:
            return FormData(self._fields)
        self._file.seek(0)
        upload = UploadFile(self._file, filename=self._file_name)  # type: ignore[arg-type]
        return FormData([*self._fields, (self._file_field, upload)])

    def close(self) -> None:
        """Removes the file."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> None:
        self._head, self._text, self._title = {}, b"", b""

    def _add_title(self, data: bytes, start: int, end: int) -> None:
        self._title += data[start:end]

    def _add_text(self, data: bytes, start: int, end: int) -> None:
        self._text += data[start:end]

    def _end_header(self) -> None:
        self._head[self._title.lower()] = self._text
        self._title = self._text = b""

    def _end_head(self) -> None:
        _, options = parse_options_header(self._head.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            if len(self._fields) >= _MAX_FIELDS:
                raise FormParserError("too many fields")
            self._name = name
            return
        if self._file is not None:
            raise FormParserError("more than one file")
        self._name, self._file_field = None, name
        self._file_name = options[b"filename"].decode("utf-8", "replace")
        self._file = NamedTemporaryFile(dir=self._folder, prefix=_PREFIX, suffix=_COMING)  # noqa: SIM115 - by `close`

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._pieces.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise FormParserError("a field is too long")

    def _end(self) -> None:
        if self._name is not None:
            self._fields.append((self._name, self._text.decode("utf-8", "replace")))
