"""Payload bytes: kept once per content, compressed in frames, in and out in bounded memory.

Bytes are hashed, compressed and, when large, inserted before the claim (staged, unsealed: they count for nothing yet);
the claim's own transaction seals them. Every write transaction here is short. Never decides what may be forgotten: it
only refuses to forget what a row still refers to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from cegid_daemon.errors import JournalError
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.frames import FRAME_SIZE, Frame, compress_frames
from cegid_daemon.journal.reader import payload_size, pieces
from cegid_daemon.journal.word_index import LARGEST, WordIndex

_IN_MEMORY = 1 << 20  # uncompressed bytes of a staged payload that is not yet in the file
_BURST = 512 << 10  # compressed bytes inserted in one transaction
_DELETED_AT_ONCE = 8  # chunks
_REFERRED = """
    EXISTS (SELECT 1 FROM message WHERE payload = :id) OR EXISTS (SELECT 1 FROM part WHERE payload = :id)
    OR EXISTS (SELECT 1 FROM log_entry WHERE payload = :id) OR EXISTS (SELECT 1 FROM attempt WHERE answer = :id)
"""


@dataclass(frozen=True, slots=True)
class Staged:
    """A payload ready to be sealed: `frames` in memory, or already in the file under the unsealed `payload_id`."""

    sha256: str
    size: int
    frames: tuple[Frame, ...] = ()
    payload_id: int | None = None
    redacted: bool = False


class Payloads:
    """The payload room of the journal."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._words = WordIndex(connection)

    def stage_bytes(self, chunks: Iterable[bytes], *, redacted: bool = False) -> Staged:
        """Hashes, compresses and, beyond 1 MiB, inserts `chunks`. What `chunks` raises comes out; nothing stays."""
        meter = _Meter(chunks)
        frames, payload_id = self._stage(compress_frames(meter))
        return Staged(meter.digest.hexdigest(), meter.size, frames, payload_id, redacted)

    def stage_frames(self, frames: Iterable[Frame], sha256: str, size: int) -> Staged:
        """The same for frames that a worker compressed (`frames.compress_frames`), its hash and size."""
        counted = _Counted(frames)
        kept, payload_id = self._stage(counted)
        staged = Staged(sha256, size, kept, payload_id)
        if counted.size != size:
            self.discard(staged)
            raise ValueError(f"frames hold {counted.size} bytes, {size} were announced")
        return staged

    def _stage(self, frames: Iterable[Frame]) -> tuple[tuple[Frame, ...], int | None]:
        held: list[Frame] = []
        payload_id: int | None = None
        start = no = 0  # of the first frame held
        try:
            for frame in frames:
                held.append(frame)
                if _beyond(held, payload_id):
                    payload_id = self._insert(payload_id, no, start, held)
                    no, start, held = no + len(held), start + sum(size for size, _ in held), []
            if payload_id is not None and held:
                self._insert(payload_id, no, start, held)
                held = []
        except BaseException:
            if payload_id is not None:
                self._delete(payload_id)
            raise
        return tuple(held), payload_id

    def _insert(self, payload_id: int | None, no: int, start: int, frames: Iterable[Frame]) -> int:
        """Adds frames from number `no`, whose first byte stands at `start`; makes an unsealed payload where needed."""
        with self._connection.transaction():
            if payload_id is None:
                payload_id = self._connection.execute("INSERT INTO payload DEFAULT VALUES").lastrowid
            assert payload_id is not None
            for size, body in frames:
                self._connection.execute("INSERT INTO payload_chunk VALUES (?, ?, ?, ?)", (payload_id, no, start, body))
                no, start = no + 1, start + size
        return payload_id

    def seal(self, staged: Staged) -> int:
        """The id of the payload with this content, once and for all. To be called in the caller's transaction.

        Raises JournalError if what was staged is no longer there (stage it again).
        """
        found = self._connection.one(
            "SELECT id FROM payload WHERE sha256 = ? AND redacted = ? AND sealed = 1", (staged.sha256, staged.redacted)
        )
        if found is not None:
            self.discard(staged)
            return int(found["id"])
        with self._connection.transaction():
            payload_id = staged.payload_id
            if payload_id is None:
                payload_id = self._insert(None, 0, 0, staged.frames)
            sealed = self._connection.execute(
                "UPDATE payload SET sha256 = ?, size = ?, redacted = ?, sealed = 1 WHERE id = ? AND sealed = 0",
                (staged.sha256, staged.size, staged.redacted, payload_id),
            )
            if sealed.rowcount != 1:
                raise JournalError(f"staged payload {payload_id} is no longer there", remedy="Stage it again.")
        return payload_id

    def discard(self, staged: Staged) -> None:
        """What was staged is not needed. Inside a transaction its rows go once that is committed."""
        if staged.payload_id is not None:
            self._connection.after_commit(partial(self._delete, staged.payload_id))

    def drop_unsealed(self) -> int:
        """For the daemon's start, before anything is staged: removes what a crash left half in. How many there were."""
        left = self._connection.query("SELECT id FROM payload WHERE sealed = 0")
        for row in left:
            self._delete(row["id"])
        return len(left)

    def forget(self, payload_ids: Iterable[int]) -> int:
        """Deletes those that no message, part, log entry or attempt refers to. How many those were.

        A payload is unsealed first, so that no new message can find it. The rows of a small one go with it; those of a
        large one after the caller's transaction, or, after a crash, at the next start.
        """
        forgotten = 0
        for payload_id in payload_ids:
            with self._connection.transaction():
                forgotten += self._forget(payload_id)
        return forgotten

    def _forget(self, payload_id: int) -> bool:
        unsealed = self._connection.execute(
            f"UPDATE payload SET sealed = 0 WHERE id = :id AND sealed = 1 AND NOT ({_REFERRED}) RETURNING size",
            {"id": payload_id},
        ).fetchall()
        if not unsealed:
            return False
        if unsealed[0]["size"] <= LARGEST:
            self._words.forget(payload_id)
        if unsealed[0]["size"] <= _DELETED_AT_ONCE * FRAME_SIZE:
            self._delete(payload_id)
        else:
            self._connection.after_commit(partial(self._delete, payload_id))
        return True

    def _delete(self, payload_id: int) -> None:
        """Deletes an unsealed payload in slices: freeing the pages of a large one takes long. None is no error."""
        if not self._connection.one("SELECT 1 FROM payload WHERE id = ? AND sealed = 0", (payload_id,)):
            return
        slice_sql = (
            "DELETE FROM payload_chunk WHERE rowid IN (SELECT rowid FROM payload_chunk WHERE payload = ? LIMIT ?)"
        )
        while self._connection.execute(slice_sql, (payload_id, _DELETED_AT_ONCE)).rowcount == _DELETED_AT_ONCE:
            pass
        self._connection.execute("DELETE FROM payload WHERE id = ? AND sealed = 0", (payload_id,))

    def read(self, payload_id: int) -> Iterator[bytes]:
        """The bytes of a payload, at most 1 MiB at a time; the journal is free between two of them.

        Raises Refused if it is no longer kept, JournalDamaged if it is not whole.
        """
        return pieces(self._connection.one, payload_id, 0)

    def slice(self, payload_id: int, offset: int, length: int) -> bytes:
        """At most `length` bytes from byte `offset` on, fewer at the end. Reads only the frames they stand in."""
        found = bytearray()
        for piece in pieces(self._connection.one, payload_id, offset):
            found += piece[: length - len(found)]
            if len(found) >= length:
                break
        return bytes(found)

    def size(self, payload_id: int) -> int:
        """How many bytes a payload has. Raises Refused if it is no longer kept."""
        return payload_size(self._connection.one, payload_id)


class _Meter:
    """Passes chunks on, hashing and counting them."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.digest.update(chunk)
            self.size += len(chunk)
            yield chunk


class _Counted:
    """Passes frames on, counting the bytes behind them."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames
        self.size = 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self.size += frame[0]
            yield frame


def _beyond(held: list[Frame], payload_id: int | None) -> bool:
    """Whether the frames held must go into the file: more than may stay in memory, or enough for one transaction."""
    if payload_id is None:
        return sum(size for size, _ in held) > _IN_MEMORY
    return sum(len(body) for _, body in held) >= _BURST
