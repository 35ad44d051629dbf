"""The index of words inside stored contents: which content holds a word, and so which messages.

A projection, built in slices after the fact, newest messages first, and made anew when the rules of words change.
Contents of messages that still owe a masked copy are neither indexed nor found; a content that is forgotten takes its
words with it. The words themselves are kept nowhere but in the index: to take them out they are read from the bytes
once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cegid_daemon.errors import JournalDamaged
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.frames import expand_frame
from cegid_daemon.journal.words import EDITION, words_in, words_of

LARGEST = 64 << 10  # bytes of a content whose words are indexed
_MESSAGES = 100  # a slice
_BYTES = 128 << 10  # of words, a slice: some 30 ms
_CONTENTS = 20  # of one message, a slice
_MERGED = 64  # pages of the index put in order after a slice: SQLite's own merging may take half a second
_PREFIX = 3  # characters from which on the beginning of a word is enough
_BEGINNINGS = 64  # words with the same beginning that are looked for
_ASKED = 8  # words of a search
_OWED = f"""
    SELECT p.id, p.sha256 FROM payload p WHERE p.sealed = 1 AND p.size BETWEEN 1 AND {LARGEST} AND p.id IN (
        SELECT m.payload FROM message m WHERE m.id = :id UNION SELECT t.payload FROM part t WHERE t.message = :id)
    AND EXISTS (SELECT 1 FROM message m WHERE m.id = :id AND m.logged = 1 AND m.redact IS NULL)
    AND NOT EXISTS (SELECT 1 FROM search_word_content c WHERE c.payload = p.id) LIMIT {_CONTENTS}
"""
_NOTED = "INSERT OR IGNORE INTO search_word_content SELECT id FROM payload WHERE id = ? AND sha256 = ? AND sealed = 1"
_SHOWN = "m.redact IS NULL AND EXISTS (SELECT 1 FROM log_entry e WHERE e.message = m.id)"
_MESSAGES_OF = f"""
    SELECT * FROM (SELECT m.id FROM message m WHERE m.payload = :payload AND {_SHOWN} ORDER BY m.id DESC LIMIT :limit)
    UNION ALL SELECT * FROM (SELECT m.id FROM part t JOIN message m ON m.id = t.message
        WHERE t.payload = :payload AND {_SHOWN} ORDER BY t.id DESC LIMIT :limit)
"""


@dataclass(frozen=True, slots=True)
class _Content:
    payload: int
    sha256: str
    words: str


class WordIndex:
    """Words of contents up to `LARGEST` bytes."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection
        self._edition_known = False

    def owe(self, message: int) -> None:
        """The contents of a message are to be indexed, in the caller's transaction."""
        self._db.execute("INSERT OR IGNORE INTO search_word_due VALUES (?)", (message,))

    def index_slice(self) -> int:
        """Indexes some contents in one short transaction. How many messages were looked at; 0: none is due."""
        self._keep_edition()
        seen: list[int] = []
        contents: dict[int, _Content] = {}
        looked = size = 0
        for row in self._db.query("SELECT message FROM search_word_due ORDER BY message DESC LIMIT ?", (_MESSAGES,)):
            looked += 1
            owed = self._db.query(_OWED, {"id": row["message"]})
            for payload, sha256 in owed:
                if size > _BYTES:
                    break
                contents[payload] = _Content(payload, sha256, self._words(payload))
                size += len(contents[payload].words)
            else:
                if len(owed) < _CONTENTS:
                    seen.append(row["message"])
            if size > _BYTES:
                break
        self._add(contents, seen)
        return looked

    def _words(self, payload: int) -> str:
        chunks = self._db.query("SELECT body FROM payload_chunk WHERE payload = ? ORDER BY no", (payload,))
        try:
            body = b"".join(expand_frame(chunk["body"]) for chunk in chunks)
        except JournalDamaged:  # told to whoever reads it; one broken content must not end the indexing
            return ""
        return " ".join(sorted(words_of(body)))

    def _add(self, contents: dict[int, _Content], seen: Sequence[int]) -> None:
        if not contents and not seen:
            return
        with self._db.transaction():
            for payload in sorted(contents):  # in this order the index is written once, not once a content
                one = contents[payload]
                if self._db.execute(_NOTED, (payload, one.sha256)).rowcount:
                    self._db.execute("INSERT INTO search_word (rowid, words) VALUES (?, ?)", (payload, one.words))
            self._db.executemany("DELETE FROM search_word_due WHERE message = ?", [(message,) for message in seen])
        if contents:
            self._merge(_MERGED)

    def _keep_edition(self) -> None:
        """Where the index was made by other rules, or never, everything is due."""
        if self._edition_known:
            return
        row = self._db.one("SELECT value FROM about WHERE key = 'words'")
        if row is None or row["value"] != EDITION:
            self.rebuild()
        self._edition_known = True

    def rebuild(self) -> None:
        """Empties the index; every logged message is due again."""
        with self._db.transaction():
            self._db.execute("INSERT INTO search_word (search_word) VALUES ('delete-all')")
            self._db.execute("DELETE FROM search_word_content")
            self._db.execute("INSERT OR IGNORE INTO search_word_due SELECT id FROM message WHERE logged = 1")
            self._db.execute("INSERT OR REPLACE INTO about VALUES ('words', ?)", (EDITION,))

    def forget(self, payload: int) -> None:
        """Takes the words of a content out while its bytes are still there, in the caller's transaction."""
        if self._db.execute("DELETE FROM search_word_content WHERE payload = ?", (payload,)).rowcount:
            self._db.execute(
                "INSERT INTO search_word (search_word, rowid, words) VALUES ('delete', ?, ?)",
                (payload, self._words(payload)),
            )

    def compact(self, go_on: Callable[[], bool]) -> None:
        """Gives up the room of words that were taken out: until parts are merged, each stands there twice."""
        with self._db.transaction():
            if self._db.one("SELECT 1 FROM search_word_content LIMIT 1") is None:
                self._db.execute("INSERT INTO search_word (search_word) VALUES ('delete-all')")
                return
        pages = -_MERGED  # negative: all parts are to become one; further calls go on with it
        while go_on() and self._merge(pages):
            pages = _MERGED

    def _merge(self, pages: int) -> bool:
        """Writes some pages anew; whether there is more to do (fts5: a call with nothing to do changes one row)."""
        with self._db.transaction():
            before = self._db.changes()
            self._db.execute("INSERT INTO search_word (search_word, rank) VALUES ('merge', ?)", (pages,))
            return self._db.changes() - before > 1

    def find(self, text: str, limit: int) -> Iterator[tuple[int, str]]:
        """Messages whose contents hold every word of `text`, and how: `word`, or `word beginning` of the last one.

        Newest contents first, at most `limit` messages each way.
        """
        words = words_in(text)[:_ASKED]
        if not words:
            return
        whole = " AND ".join(f'"{word}"' for word in words)
        found = self._messages(whole, limit)
        yield from ((message, "word") for message in found)
        if len(found) < limit and (beginnings := self._beginning_with(words[-1])):
            some = " OR ".join(f'"{word}"' for word in beginnings)
            longer = " AND ".join([*(f'"{word}"' for word in words[:-1]), f"({some})"])
            yield from ((message, "word beginning") for message in self._messages(longer, limit))

    def _beginning_with(self, word: str) -> list[str]:
        if len(word) < _PREFIX:
            return []
        sql = "SELECT term FROM search_word_term WHERE term > ? AND term < ? LIMIT ?"
        return [row["term"] for row in self._db.query(sql, (word, word + "\U0010ffff", _BEGINNINGS))]

    def _messages(self, expression: str, limit: int) -> set[int]:
        found: set[int] = set()
        sql = "SELECT rowid FROM search_word WHERE search_word MATCH ? ORDER BY rowid DESC LIMIT ?"
        for content in self._db.query(sql, (expression, 2 * limit)):
            of_content = {"payload": content["rowid"], "limit": limit}
            found.update(row["id"] for row in self._db.query(_MESSAGES_OF, of_content))
            if len(found) >= limit:
                break
        return found
