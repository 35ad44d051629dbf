"""Where a worker puts what a rewriting makes: in memory while small, else in files of the spool.

File names are `rewrite-MESSAGE-…`, so that whatever a killed worker left can be found by its message. Runs in the
worker; the daemon only reads and removes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cegid_daemon.journal.frames import FRAME_SIZE, Frame, compress_frames
from cegid_daemon.workshop.orders import FRAME_HEAD, PartFrames, Rows

KEPT_BYTES = 256 * 1024  # compressed bytes of one part that stay in memory
KEPT_ROWS = 1_000
_PREFIX = "rewrite-"


class SpoolSink:
    """`ports.Sink` of one rewriting."""

    def __init__(self, spool: Path, message_id: int, tick: Callable[[int], None]) -> None:
        self._stem = str(spool / f"{_PREFIX}{message_id}")
        self._tick = tick
        self._parts: list[_Part] = []
        self._belongs = _RowWriter(Path(f"{self._stem}-belongs"))
        self._buffers = _RowWriter(Path(f"{self._stem}-buffers"))

    def part(self, no: int) -> _Part:
        """Opens part `no`."""
        self._parts.append(_Part(no, Path(f"{self._stem}-{no}"), self._tick))
        return self._parts[-1]

    def belongs(self, sku: str, product: str) -> None:
        """Keeps one line of the catalogue."""
        self._belongs.add((sku, product))

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        """Keeps one buffer."""
        self._buffers.add((level, key, value, line))

    def made(self) -> tuple[tuple[PartFrames, ...], Rows, Rows]:
        """Parts, belongs, buffers; whatever is open is closed."""
        return tuple(part.made() for part in self._parts), self._belongs.made(), self._buffers.made()

    def drop(self) -> None:
        """Closes and removes everything, on a full disk too."""
        pieces: list[_Part | _RowWriter] = [*self._parts, self._belongs, self._buffers]
        for piece in pieces:
            with suppress(OSError):
                piece.made()
        drop_leftovers(Path(self._stem).parent, Path(self._stem).name)


class _Part:
    """`ports.PartWriter`: cuts the bytes into zstd frames."""

    def __init__(self, no: int, path: Path, tick: Callable[[int], None]) -> None:
        self._no = no
        self._path = path
        self._tick = tick
        self._pending = bytearray()
        self._frames: list[Frame] = []
        self._kept = 0
        self._file: BinaryIO | None = None

    def write(self, chunk: bytes, /) -> None:
        """Takes the next bytes."""
        self._pending += chunk
        self._tick(len(chunk))
        if len(self._pending) >= FRAME_SIZE:
            whole = len(self._pending) - len(self._pending) % FRAME_SIZE
            with memoryview(self._pending) as pending:
                raw = bytes(pending[:whole])
            del self._pending[:whole]
            self._compress(raw)

    def close(self) -> None:
        """No more bytes come."""
        self._compress(bytes(self._pending))
        self._pending.clear()
        if self._file is not None:
            self._file.close()

    def made(self) -> PartFrames:
        """The frames, or where they lie."""
        self.close()
        return PartFrames(self._no, tuple(self._frames), self._path if self._file is not None else None)

    def _compress(self, raw: bytes) -> None:
        for frame in compress_frames((raw,) if raw else ()):
            self._keep(frame)

    def _keep(self, frame: Frame) -> None:
        self._kept += len(frame[1])
        if self._file is None and self._kept <= KEPT_BYTES:
            self._frames.append(frame)
            return
        if self._file is None:
            self._file = _create(self._path)
        for raw_size, body in [*self._frames, frame]:
            self._file.write(FRAME_HEAD.pack(raw_size, len(body)) + body)
        self._frames.clear()


class _RowWriter:
    """Keeps rows, from the thousandth on in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[tuple[Any, ...]] = []
        self._file: BinaryIO | None = None

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) >= KEPT_ROWS:
            self._flush()

    def made(self) -> Rows:
        if self._file is None:
            return Rows(tuple(self._rows))
        if not self._file.closed:
            self._flush()
            self._file.close()
        return Rows((), self._path)

    def _flush(self) -> None:
        self._file = self._file or _create(self._path)
        self._file.write(b"".join(json.dumps(row).encode("ascii") + b"\n" for row in self._rows))
        self._rows.clear()


def counted(chunks: Iterable[bytes], tick: Callable[[int], None]) -> Iterator[bytes]:
    """The same chunks; `tick` hears of each."""
    for chunk in chunks:
        yield chunk
        tick(len(chunk))


def drop_leftovers(spool: Path, stem: str) -> None:
    """Removes the files of one rewriting (`stem` is `rewrite-MESSAGE`)."""
    for path in spool.glob(f"{stem}-*"):
        path.unlink(missing_ok=True)


def stem_of(message_id: int) -> str:
    """How the spool names the files of a message begin."""
    return f"{_PREFIX}{message_id}"


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb", 262_144)
