"""Search: which messages speak of a SKU, an order number, a file name, a word, or any text.

Owns the tables of keys and names: a projection, built in slices after the fact and right without them (what is not yet
indexed is looked through). Words of contents have an index of their own; any other text is scanned for in the stored
bytes, newest first, for as long as the caller likes.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.errors import Refused
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.packed_keys import TRIGRAM, closeness, closest_key, pack, unpack
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.word_index import WordIndex
from cegid_daemon.model import escape_name, utc_moment

_KEYS_MATCHED = 500
_LONGEST_KEY = 1_000  # characters of a key that is indexed; a longer one is no key, and costs time to look inside
_LONGEST_PHRASE = 64  # characters of a text that the index is asked for; the rest is compared with what it finds
_DUE_PAGE = 200
_MOST = 5_000  # keys of a message that are indexed: as many as the rewriting tells
_LARGE = 16 << 10  # bytes of a list of keys, some 5,000 of them: it is not indexed while its message is queued
_SCAN_PAGE = 200
_ENCODINGS = ("utf-8", "cp1252", "utf-16-le", "utf-16-be")
_KEYS = """
    SELECT id, key, 'exact' FROM search_key WHERE key = :text
    UNION ALL SELECT * FROM (
        SELECT id, key, 'beginning' FROM search_key WHERE key > :text AND key < :after LIMIT :limit)
"""
_PARTS_OF_KEYS = """
    SELECT k.id, k.key, 'part' FROM search_key_fts f JOIN search_key k ON k.id = f.rowid
    WHERE search_key_fts MATCH :phrase LIMIT :limit
"""
_UNREAD = """
    SELECT id, route, payload, recipe, received_at, size
    FROM message INDEXED BY message_due
    WHERE closed_at IS NULL AND made_at IS NULL AND logged = 1 AND id > ?
    AND NOT EXISTS (SELECT 1 FROM search_posting p WHERE p.message = message.id)
    AND NOT EXISTS (SELECT 1 FROM search_due d WHERE d.message = message.id) ORDER BY id LIMIT ?
"""
_TO_INDEX = f"""
    SELECT d.message, d.keys FROM search_due d JOIN message m ON m.id = d.message
    WHERE length(d.keys) <= {_LARGE} OR m.made_at IS NOT NULL OR m.closed_at IS NOT NULL
    ORDER BY d.message LIMIT 50
"""
_DUE = f"""
    SELECT message, CASE WHEN length(keys) <= {_LARGE} THEN keys END AS keys FROM search_due
    WHERE message < ? ORDER BY message DESC LIMIT {_DUE_PAGE}
"""
_NAMES_DUE = """
    SELECT d.message, m.file_name AS name FROM search_due d JOIN message m ON m.id = d.message
    UNION SELECT d.message, v.name FROM search_due d JOIN delivery v ON v.message = d.message
"""
_NAMES = """
    SELECT file_name FROM message WHERE id = :message UNION SELECT name FROM delivery WHERE message = :message
"""
_CONTENTS = """
    SELECT m.id, m.payload, 'received' AS how FROM message m WHERE m.id = :message AND m.payload IS NOT NULL
    UNION ALL SELECT p.message, p.payload, 'sent' FROM part p WHERE p.message = :message AND p.payload IS NOT NULL
"""

GoOn = Callable[[int, int], bool]  # (messages looked through, bytes looked through) -> whether to go on


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that speaks of the text.

    `how`: exact | beginning | part (of the key), word | word beginning (of its contents), received | sent (scanned).
    """

    message: int
    key: str
    how: str


@dataclass(frozen=True, slots=True)
class Unread:
    """An open message whose keys nobody has read yet."""

    id: int
    route: str
    payload: int | None
    recipe: int | None
    received_at: datetime
    size: int  # of its payload


class Search:
    """The search room of the journal."""

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self._connection = connection
        self._payloads = payloads
        self.words = WordIndex(connection)

    def owe(self, message: int) -> None:
        """A message that has no keys, as it failed, is to be found by its names and words all the same."""
        self._connection.execute("INSERT OR IGNORE INTO search_due (message, keys) VALUES (?, ?)", (message, pack([])))

    def enqueue(self, message: int, keys: Iterable[str]) -> None:
        """Notes what a message is to be found by, in the caller's transaction; file names come by themselves."""
        self._connection.execute(
            "INSERT OR REPLACE INTO search_due (message, keys) VALUES (?, ?)", (message, pack(list(keys)))
        )

    def newest_message(self) -> int:
        """The largest id of a message; 0: there is none."""
        return int(self._connection.query("SELECT coalesce(max(id), 0) FROM message")[0][0])

    def unread(self, after: int, limit: int) -> list[Unread]:
        """The first open messages behind `after` that are logged, not rewritten, and not to be found yet."""
        found = self._connection.query(_UNREAD, (after, limit))
        return [
            Unread(row["id"], row["route"], row["payload"], row["recipe"], utc_moment(row["received_at"]), row["size"])
            for row in found
        ]

    def note_early(self, noted: Iterable[tuple[int, bytes]]) -> None:
        """Notes packed keys of messages, to find them by before they are rewritten; of those that are, nothing."""
        rows = [(keys, message) for message, keys in noted]
        if not rows:
            return
        with self._connection.transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO search_due (message, keys) SELECT id, ? FROM message WHERE id = ? "
                "AND made_at IS NULL AND closed_at IS NULL", rows,
            )  # fmt: skip

    def index_slice(self, limit: int = 200) -> int:
        """Indexes about `limit` keys in one short transaction. How many it were; 0: nothing is due."""
        done = 0
        with self._connection.transaction():
            for row in self._connection.query(_TO_INDEX):
                done += self._index(row["message"], unpack(row["keys"]), limit - done)
                if done >= limit:
                    break
        return done

    def _index(self, message: int, keys: Sequence[str], limit: int) -> int:
        """Indexes the first `limit` keys of a message; the others stay due. Its names come with the last ones."""
        if len(keys) > _MOST:  # of a message that was queued, and is closed without having been rewritten
            keys = []
        now, later = keys[:limit], keys[limit:]
        if later:
            self._connection.execute("UPDATE search_due SET keys = ? WHERE message = ?", (pack(later), message))
        else:
            now = [*now, *self._names(message)]
            self._connection.execute("DELETE FROM search_due WHERE message = ?", (message,))
            self.words.owe(message)
        self._post([_storable(key) for key in now if 0 < len(key) <= _LONGEST_KEY], message)
        return len(now)

    def _names(self, message: int) -> list[str]:
        return [row[0] for row in self._connection.query(_NAMES, {"message": message})]

    def _post(self, keys: Sequence[str], message: int) -> None:
        last = self._connection.query("SELECT coalesce(max(id), 0) FROM search_key")[0][0]
        self._connection.executemany("INSERT OR IGNORE INTO search_key (key) VALUES (?)", [(key,) for key in keys])
        self._connection.execute(
            "INSERT INTO search_key_fts (rowid, key) SELECT id, key FROM search_key WHERE id > ?", (last,)
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO search_posting (key, message) SELECT id, ? FROM search_key WHERE key = ?",
            [(message, key) for key in keys],
        )

    def forget(self, message: int) -> None:
        """The message is no longer to be found, in the caller's transaction; keys that only it had go too."""
        gone = self._connection.query(
            "SELECT k.id, k.key FROM search_posting p JOIN search_key k ON k.id = p.key WHERE p.message = ? AND NOT "
            "EXISTS (SELECT 1 FROM search_posting o WHERE o.key = p.key AND o.message <> p.message)",
            (message,),
        )
        self._connection.execute("DELETE FROM search_posting WHERE message = ?", (message,))
        self._connection.execute("DELETE FROM search_due WHERE message = ?", (message,))
        for row in gone:
            self._connection.execute(
                "INSERT INTO search_key_fts (search_key_fts, rowid, key) VALUES ('delete', ?, ?)", tuple(row)
            )
            self._connection.execute("DELETE FROM search_key WHERE id = ?", (row["id"],))

    def find(self, text: str, limit: int = 100) -> list[Hit]:
        """Messages by key or file name (whole, as a beginning, and inside) and by words of their contents.

        Inside only from three characters on. One hit a message, the closest one; newest first. Where there are more
        than `limit`, the closest are taken.
        """
        text = _storable(text)
        best: dict[int, Hit] = {}
        words = (Hit(message, text, how) for message, how in self.words.find(text, limit))
        for hit in itertools.chain(self._find_due(text), self._find_indexed(text, limit), words):
            held = best.get(hit.message)
            if held is None or _CLOSENESS[hit.how] < _CLOSENESS[held.how]:
                best[hit.message] = hit
        closest = heapq.nsmallest(limit, best.values(), key=lambda hit: (_CLOSENESS[hit.how], -hit.message))
        return sorted(closest, key=lambda hit: -hit.message)

    def _find_indexed(self, text: str, limit: int) -> Iterator[Hit]:
        seen: set[int] = set()
        for key_id, key, how in self._keys(text):
            if key_id in seen:
                continue
            seen.add(key_id)
            found = self._connection.query(
                "SELECT message FROM search_posting WHERE key = ? ORDER BY message DESC LIMIT ?", (key_id, limit)
            )
            yield from (Hit(row["message"], key, how) for row in found)

    def _keys(self, text: str) -> Iterator[tuple[int, str, str]]:
        bounds = {"text": text, "after": text + "\U0010ffff", "limit": _KEYS_MATCHED}
        yield from (tuple(row) for row in self._connection.query(_KEYS, bounds))
        if TRIGRAM <= len(text) <= _LONGEST_KEY and "\0" not in text:  # which ends a phrase, and stands in no key
            phrase = '"' + text[:_LONGEST_PHRASE].replace('"', '""') + '"'
            found = self._connection.query(_PARTS_OF_KEYS, {"phrase": phrase, "limit": _KEYS_MATCHED})
            yield from (tuple(row) for row in found if len(text) <= _LONGEST_PHRASE or closeness(text, row["key"]))

    def _find_due(self, text: str) -> Iterator[Hit]:
        last = 1 << 62
        while page := self._connection.query(_DUE, (last,)):
            for message, keys in page:
                if (found := closest_key(keys or self._large_keys(message), text)) is not None:
                    yield Hit(message, *found)
            last = page[-1]["message"]
        for row in self._connection.query(_NAMES_DUE):
            if how := closeness(text, row["name"]):
                yield Hit(row["message"], row["name"], how)

    def _large_keys(self, message: int) -> bytes:
        """A long list of keys, which is read by itself; an empty one if it was indexed meanwhile."""
        row = self._connection.one("SELECT keys FROM search_due WHERE message = ?", (message,))
        return row["keys"] if row else pack([])

    def scan(
        self, text: str, *, go_on: GoOn, newest_first: bool = True, start: int | None = None,
        may_read: Callable[[int, int], bool] = lambda _message, _payload: True,
    ) -> Iterator[Hit]:  # fmt: skip
        """Messages whose received or sent bytes hold `text`, in the encodings CEGID writes, one hit a content.

        `go_on` is asked between any two pieces, so a caller bounds the time and shows progress. `start` is the last
        message of a scan that was ended: this one goes on behind it. `may_read` says of a message and a content of it
        whether it is looked into.
        """
        needles = _needles(text)
        if not needles:  # half a character, which no encoding writes
            return
        tally = _Tally(go_on)
        for message in self._messages(newest_first, start):
            for row in self._connection.query(_CONTENTS, {"message": message}):
                if not may_read(message, row["payload"]):
                    continue
                with suppress(Refused):  # pruned meanwhile
                    if tally.holds(self._payloads.read(row["payload"]), needles):
                        yield Hit(message, text, row["how"])
                if tally.ended:
                    return
            tally.messages += 1

    def _messages(self, newest_first: bool, start: int | None) -> Iterator[int]:
        compare, order = ("<", "DESC") if newest_first else (">", "ASC")
        last = start if start is not None else (1 << 62 if newest_first else 0)
        sql = f"SELECT id FROM message WHERE id {compare} ? ORDER BY id {order} LIMIT ?"
        while found := self._connection.query(sql, (last, _SCAN_PAGE)):
            yield from (row["id"] for row in found)
            last = found[-1]["id"]


class _Tally:
    """How far a scan is, and whether it goes on."""

    def __init__(self, go_on: GoOn) -> None:
        self._go_on = go_on
        self.messages = self.size = 0
        self.ended = False

    def holds(self, pieces: Iterable[bytes], needles: Sequence[bytes]) -> bool:
        """Whether one of `needles` stands in the bytes, also across two pieces."""
        overlap = max(map(len, needles)) - 1
        tail = b""
        for piece in pieces:
            window = tail + piece
            self.size += len(piece)
            self.ended = not self._go_on(self.messages, self.size)
            if any(needle in window for needle in needles):
                return True
            if self.ended:
                return False
            tail = window[-overlap:] if overlap else b""
        return False


_CLOSENESS = {"exact": 0, "beginning": 1, "part": 2, "word": 3, "word beginning": 4}


def _storable(text: str) -> str:
    """The text as SQLite takes it: half characters, as of file names that are no UTF-8, escaped as names are."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return escape_name(text).encode("utf-8", "backslashreplace").decode()


def _needles(text: str) -> list[bytes]:
    """The text in every encoding that can write it."""
    found: list[bytes] = []
    for encoding in _ENCODINGS:
        try:
            found.append(text.encode(encoding))
        except UnicodeEncodeError:
            continue
    return sorted(set(found))
