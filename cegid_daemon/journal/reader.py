"""What a worker process needs of the journal: a bare connection, and payloads read through it.

Imports nothing heavy. Raises what sqlite3 raises; the daemon's own connection (`connection.Connection`) translates.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cegid_daemon.errors import JournalDamaged, Refused
from cegid_daemon.journal.frames import FRAME_SIZE, expand_frame

FetchOne = Callable[[str, Sequence[Any]], "sqlite3.Row | None"]


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """A connection with the pragmas every connection needs. Never makes a file."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}"
    raw = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    raw.row_factory = sqlite3.Row
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA cache_size = -8000")
    raw.execute("PRAGMA cell_size_check = ON")  # damage is found where it is read
    return raw


def read_payload(raw: sqlite3.Connection, payload_id: int) -> Iterator[bytes]:
    """The bytes of a payload, at most 1 MiB at a time. Raises Refused if it is no longer kept, or JournalDamaged."""

    def fetch_one(sql: str, params: Sequence[Any]) -> sqlite3.Row | None:
        row: sqlite3.Row | None = raw.execute(sql, params).fetchone()
        return row

    return pieces(fetch_one, payload_id, 0)


def pieces(fetch_one: FetchOne, payload_id: int, offset: int) -> Iterator[bytes]:
    """The bytes of a payload from byte `offset` on, frame by frame; no cursor stays open between two of them."""
    size = payload_size(fetch_one, payload_id)
    at = offset
    while at < size:
        no = at // FRAME_SIZE
        row = fetch_one("SELECT body FROM payload_chunk WHERE payload = ? AND no = ?", (payload_id, no))
        if row is None:
            payload_size(fetch_one, payload_id)  # raises if it was forgotten while it was being read
            raise JournalDamaged(f"payload {payload_id} is not whole", remedy="Restore the journal from a backup.")
        piece = expand_frame(row[0])[at - no * FRAME_SIZE :]
        yield piece
        at += len(piece)


def payload_size(fetch_one: FetchOne, payload_id: int) -> int:
    """How many bytes a payload has. Raises Refused if it is no longer kept."""
    row = fetch_one("SELECT size FROM payload WHERE id = ? AND sealed = 1", (payload_id,))
    if row is None:
        raise Refused(
            f"payload {payload_id} is not kept, or no longer",
            why='"Log Requests?" was off, or its days were over',
            remedy="Ask the sender for the file again, or lengthen `payload_days`.",
        )
    return int(row[0])
