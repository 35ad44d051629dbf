"""A write-ahead log that somebody removed while a daemon writes it: how others than the daemon know.

The daemon goes on with the file that has no name any more; everybody else reads an index (-shm) of a log that is not
there, which SQLite calls a damage.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from pathlib import Path

from cegid_daemon.errors import JournalLogLost, Place

_INDEX = struct.Struct("=14xHI12x8s")  # of the index: size of a page, frames in the log, salt
_HEAD = struct.Struct("16x8s")  # of the log: salt
_FRAME_HEAD, _LOG_HEAD = 24, 32  # bytes
_CHECK_SECONDS = 5.0
_LOOKS, _BETWEEN_SECONDS = 3, 0.02  # the index may be under way
_STEPS = 10_000  # of SQLite, between two looks at the clock


def lost_log(path: Path) -> JournalLogLost | None:
    """The error that tells of it, if the log of a journal is not the one its index belongs to and the file is whole."""
    for _ in range(_LOOKS):
        if not _is_lost(path):
            return None
        time.sleep(_BETWEEN_SECONDS)
    if not _is_whole(path):
        return None
    return JournalLogLost(
        "the journal cannot be read beside the daemon that writes it", where=Place(file=str(path)),
        why="its write-ahead log (-wal) was removed or replaced while the daemon runs; the journal's own file is whole",
        remedy="Restart the daemon now: it saves what the log held. See docs/operations.md, \"Backup and restore\".",
    )  # fmt: skip


def _is_lost(path: Path) -> bool:
    try:
        size, frames, salt = _INDEX.unpack(_start(path, "-shm", _INDEX.size))
    except (OSError, struct.error):
        return False
    if not frames:
        return False
    try:
        log = path.with_name(f"{path.name}-wal")
        (found,) = _HEAD.unpack(_start(path, "-wal", _HEAD.size))
        return bool(found != salt or log.stat().st_size < _LOG_HEAD + frames * (size + _FRAME_HEAD))
    except (OSError, struct.error):
        return True


def _start(path: Path, suffix: str, count: int) -> bytes:
    with path.with_name(path.name + suffix).open("rb") as opened:
        return opened.read(count)


def _is_whole(path: Path) -> bool:
    """Whether SQLite finds no fault in the file alone, as far as it comes in a few seconds."""
    end = time.monotonic() + _CHECK_SECONDS
    try:
        raw = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error:
        return False
    try:
        raw.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        return bool(raw.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT
    finally:
        raw.close()
