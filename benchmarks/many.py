"""Many small files beside a bare loop that reads, writes and syncs as often but rewrites, checks and logs nothing."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import synthesis
from benchmarks.figures import Figure
from benchmarks.installation import count, installed

BATCH = 64  # files that share their commits, as in the daemon


def many(scale: float) -> list[Figure]:
    """10,000 files of 40 rows, dropped at once."""
    files = int(10_000 * scale)
    with installed("y2-stock-csv", store_buffer=2) as place:
        prepared = place.root / "prepared"
        synthesis.files(files, prepared)
        bare = files / bare_loop(prepared, place.root / "bare")
        with place.running():
            begun = time.perf_counter()
            for path in prepared.iterdir():
                path.rename(place.inbox / path.name)
            place.wait(lambda: count(place.outbox) == files and count(place.inbox) == 0, 600, every=0.1)
            ours = files / (time.perf_counter() - begun)
    return [
        Figure("files a second", ours, "/s", at_least=400),
        Figure("files a second, bare loop with the same syncs", bare, "/s"),
        Figure("of the bare loop", ours / bare, "×"),
    ]


def bare_loop(source: Path, root: Path, *, batch: int = BATCH) -> float:
    """Seconds that the same files take when only what makes them durable is done; the source stays as it is."""
    inbox, outbox, processed = root / "inbox", root / "outbox", root / "processed"
    for folder in (inbox, outbox, processed):
        folder.mkdir(parents=True)
    for path in source.iterdir():
        (inbox / path.name).write_bytes(path.read_bytes())
    book = sqlite3.connect(root / "book.sqlite", isolation_level=None)
    book.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE file (name, state, body)")
    names = sorted(path.name for path in inbox.iterdir())
    begun = time.perf_counter()
    for first in range(0, len(names), batch):
        _carry(names[first : first + batch], inbox, outbox, processed, book)
    seconds = time.perf_counter() - begun
    book.close()
    return seconds


def _carry(names: Sequence[str], inbox: Path, outbox: Path, processed: Path, book: sqlite3.Connection) -> None:
    bodies = [(inbox / name).read_bytes() for name in names]
    _commit(book, [(name, "claimed", body) for name, body in zip(names, bodies, strict=True)])
    _commit(book, [(name, "rewritten", body) for name, body in zip(names, bodies, strict=True)])
    for name, body in zip(names, bodies, strict=True):
        _write(outbox / f".{name}.part", body)
    _sync(outbox)
    _commit(book, [(name, "uploaded", None) for name in names])
    for name in names:
        (outbox / f".{name}.part").rename(outbox / name)
    _sync(outbox)
    _commit(book, [(name, "delivered", None) for name in names])
    for name in names:
        (inbox / name).rename(processed / name)
    _sync(inbox)
    _sync(processed)
    _commit(book, [(name, "done", None) for name in names])


def _commit(book: sqlite3.Connection, rows: Sequence[tuple[str, str, bytes | None]]) -> None:
    book.execute("BEGIN IMMEDIATE")
    book.executemany("INSERT INTO file VALUES (?, ?, ?)", rows)
    book.execute("COMMIT")


def _write(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
