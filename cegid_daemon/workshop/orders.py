"""What goes into the workshop and what comes out of it: orders, limits, finished rewritings.

Small results travel in memory, large ones lie in files of the spool until `Finished.discard`. Knows no process and no
database; the only files it opens are those of the spool it is told about.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cegid_daemon.rewrite.ports import Job, Rewritten
from cegid_daemon.rewrite.recipe import Recipe

MIB = 1024 * 1024
_BUSY = 10  # a worker that works may get no more than a tenth of a core
_MOST_BUSY_SECONDS = 3600.0  # beyond its CPU time: longer than that no machine is so busy
FRAME_HEAD = struct.Struct("!II")  # raw size, body size; then the body


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rewriting may use before its worker is ended. Sizes in bytes, times in seconds."""

    memory: int = 512 * MIB
    seconds: float = 30.0  # of CPU time
    seconds_per_mb: float = 1.0  # more of it for each 1,000,000 bytes of the received file
    spool: int = 8 * 1024 * MIB  # the largest file it may write (compressed)
    small: int = MIB  # orders below this size are small: one worker is kept free for them
    worn: int = 128 * MIB  # a worker whose memory once was larger than this is replaced when it has finished

    def cpu_seconds(self, size: int) -> float:
        """CPU time that a received file of `size` bytes may take."""
        return self.seconds + self.seconds_per_mb * size / 1_000_000

    def deadline(self, size: int) -> float:
        """Seconds until a worker is given up that used less CPU time: on a busy machine it has but a part of a core."""
        cpu = self.cpu_seconds(size)
        return min(_BUSY * cpu, cpu + _MOST_BUSY_SECONDS)


@dataclass(frozen=True, slots=True)
class Order:
    """One message to rewrite."""

    recipe: Recipe
    job: Job
    store: str
    route: str
    revision: int  # of the buffer book
    message_id: int
    payload: int  # the received bytes in the journal; read by the worker unless `raw` is given
    raw: bytes | None  # the received bytes, where they are small and at hand
    size: int  # of the received bytes


class Task(NamedTuple):
    """An order on its way to a worker, which knows the recipe by its SHA-256."""

    recipe: str
    job: Job
    store: str
    route: str
    revision: int
    message_id: int
    payload: int
    raw: bytes | None
    size: int


@dataclass(frozen=True, slots=True)
class Bench:
    """What every worker of a workshop shares."""

    journal: Path
    spool: Path
    limits: Limits
    core: str  # `module:function` of the rewriting


@dataclass(frozen=True, slots=True)
class PartFrames:
    """The zstd frames of one part in order: `(raw size, body)`, each at most 1 MiB uncompressed."""

    no: int
    frames: tuple[tuple[int, bytes], ...] = ()
    spooled: Path | None = None

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return iter(self.frames) if self.spooled is None else _spooled_frames(self.spooled)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a rewriting found out besides the parts: rows of plain values in the order they came."""

    rows: tuple[tuple[Any, ...], ...] = ()
    spooled: Path | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows) if self.spooled is None else _spooled_rows(self.spooled)

    def __bool__(self) -> bool:
        return bool(self.rows) or self.spooled is not None


@dataclass(frozen=True, slots=True)
class Finished:
    """A rewriting that succeeded. The caller records it, then calls `discard`."""

    rewritten: Rewritten
    parts: tuple[PartFrames, ...]
    belongs: Rows  # (sku, product)
    buffers: Rows  # (level, key, value, line)

    def discard(self) -> None:
        """Removes what lies in the spool; the frames and rows can not be read any more."""
        for path in self.spooled():
            path.unlink(missing_ok=True)

    def spooled(self) -> list[Path]:
        """Its files in the spool."""
        pieces: tuple[PartFrames | Rows, ...] = (*self.parts, self.belongs, self.buffers)
        return [piece.spooled for piece in pieces if piece.spooled is not None]


def _spooled_frames(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        while head := file.read(FRAME_HEAD.size):
            raw_size, body_size = FRAME_HEAD.unpack(head)
            yield raw_size, file.read(body_size)


def _spooled_rows(path: Path) -> Iterator[tuple[Any, ...]]:
    with path.open(encoding="ascii") as file:
        for line in file:
            yield tuple(json.loads(line))
