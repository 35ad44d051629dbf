"""Which stored copies must still be masked, and the swap: masked bytes in, full bytes out.

A message carries the fields to mask from its claim on. Once it is done or discarded it stands in the index
`message_to_mask` until its copies are swapped, so a kill in between delays the swap and cannot lose it. Never masks:
it is handed the masked bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.payloads import Payloads, Staged
from cegid_daemon.journal.word_index import WordIndex
from cegid_daemon.model import utc_text

_OWED = """
    SELECT id, recipe, redact FROM message INDEXED BY message_to_mask
    WHERE redact IS NOT NULL AND state IN ('done', 'discarded') ORDER BY id LIMIT 1
"""
# A failed message keeps its full bytes for the replay; once a replay of it is done, nobody needs them any more.
_WITH_FAILED_ORIGINALS = """
    WITH RECURSIVE chain (id) AS (
        SELECT ? UNION SELECT o.id FROM chain c JOIN message m ON m.id = c.id JOIN message o ON o.id = m.replay_of
        WHERE m.state IN ('done', 'failed') AND o.state = 'failed')
    SELECT id FROM chain ORDER BY id DESC
"""
_COPIES = """
    SELECT 'message' AS holder, m.id, m.payload, m.sha256 FROM message m WHERE m.id = :id AND m.payload IS NOT NULL
    UNION ALL
    SELECT 'part', p.id, p.payload, p.sha256 FROM part p WHERE p.message = :id AND p.payload IS NOT NULL
"""
# Masking that changed nothing leaves the bytes as they were: the try stands for it.
_STORED = """
    SELECT m.route, a.route AS answered_route,
        p.redacted = 1 OR (m.redact IS NULL AND a.id IS NULL AND EXISTS (
            SELECT 1 FROM attempt t WHERE t.message = m.id AND t.step = 'mask')) AS masked,
        m.redact IS NOT NULL OR a.redact IS NOT NULL AS to_mask
    FROM payload p JOIN message m ON m.id = :message LEFT JOIN message a ON a.id = m.answer_to WHERE p.id = :payload
"""
_ENTRIES = {
    "message": "UPDATE log_entry SET payload = ? WHERE message = ? AND part IS NULL AND payload = ?",
    "part": "UPDATE log_entry SET payload = ? WHERE part = ? AND payload = ?",
}


@dataclass(frozen=True, slots=True)
class Owed:
    """Messages whose copies must be masked: one that is over, and the failed ones it was a replay of."""

    messages: Sequence[int]
    recipe: int | None  # None: it was never rewritten
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A stored copy: the received bytes of a message (`holder` is "message") or a part."""

    holder: str
    id: int
    payload: int
    sha256: str  # of the full bytes


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """Stored bytes of a message: whether they are masked, or still to be; and the routes they belong to.

    What an API answered belongs to the route of what it answers too.
    """

    masked: bool
    to_mask: bool
    routes: Sequence[str]


class Masking:
    """The masking room of the journal."""

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self._db = connection
        self._payloads = payloads
        self._words = WordIndex(connection)

    def expect(self, route: str, fields: Sequence[str]) -> None:
        """From now on these fields are masked when a message of the route that is still open is over."""
        self._db.execute(
            "UPDATE message SET redact = ? WHERE route = ? AND closed_at IS NULL AND logged = 1",
            (json.dumps(fields, ensure_ascii=False), route),
        )

    def owed(self) -> Owed | None:
        """The next messages whose copies must be masked; None: there are none."""
        row = self._db.one(_OWED)
        if row is None:
            return None
        chain = self._db.query(_WITH_FAILED_ORIGINALS, (row["id"],))
        return Owed([int(one["id"]) for one in chain], row["recipe"], tuple(json.loads(row["redact"])))

    def copies(self, message: int) -> list[Copy]:
        """The copies that are kept of a message: what was received, then its parts."""
        return [Copy(*row) for row in self._db.query(_COPIES, {"id": message})]

    def swap(self, message: int, swaps: Iterable[tuple[Copy, Staged | None]], note: str, now: datetime) -> None:
        """Puts masked bytes in the place of full ones (None: no copy is kept), all at once.

        The full bytes are forgotten unless another message has the same. Entries keep size and SHA-256 of what was
        really received and delivered.
        """
        self._db.execute("PRAGMA secure_delete = ON")  # what was full text must not linger in free pages
        with self._db.transaction():
            old = [copy.payload for copy, staged in swaps if self._swap(copy, staged)]
            old += self._without_answers(message)
            self._db.execute("UPDATE message SET redact = NULL WHERE id = ?", (message,))
            self._db.execute(
                "INSERT INTO attempt (at, message, step, outcome, detail) VALUES (?, ?, 'mask', 'ok', ?)",
                (utc_text(now), message, note),
            )
            self._payloads.forget(old)
            self._words.owe(message)  # now that nothing is left in it that must not be found

    def _without_answers(self, message: int) -> list[int]:
        """Lets go of what receivers answered: an answer repeats what it refuses, and has no layout to mask it by."""
        held = self._db.query("SELECT answer FROM attempt WHERE message = ? AND answer IS NOT NULL", (message,))
        self._db.execute("UPDATE attempt SET answer = NULL WHERE message = ?", (message,))
        return [int(row["answer"]) for row in held]

    def _swap(self, copy: Copy, staged: Staged | None) -> bool:
        """False: masking changed nothing, so the copy stays what it is."""
        if staged is not None and staged.sha256 == copy.sha256:
            self._payloads.discard(staged)
            return False
        new = self._payloads.seal(staged) if staged is not None else None
        self._db.execute(
            f"UPDATE {copy.holder} SET payload = ? WHERE id = ? AND payload = ?", (new, copy.id, copy.payload)
        )
        self._db.execute(_ENTRIES[copy.holder], (new, copy.id, copy.payload))
        return True

    def stored(self, message: int, payload: int) -> StoredBytes | None:
        """What is known of some bytes of a message; None: there are none."""
        row = self._db.one(_STORED, {"message": message, "payload": payload})
        if row is None:
            return None
        routes = [name for name in (row["route"], row["answered_route"]) if name]
        return StoredBytes(bool(row["masked"]), bool(row["to_mask"]), routes)

    def payloads(self, message: int) -> list[int]:
        """The stored contents of a message: what was received, and its parts."""
        return [copy.payload for copy in self.copies(message)]

    def is_masked(self, payload: int | None) -> bool:
        """Whether a payload is a masked copy."""
        row = self._db.one("SELECT redacted FROM payload WHERE id = ?", (payload,))
        return bool(row and row["redacted"])
