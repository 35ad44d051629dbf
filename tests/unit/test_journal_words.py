"""Words of stored contents: what is found by them, what is not, and what forgets them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.masking import Masking
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.retention import Retention
from cegid_daemon.journal.search import Hit, Search
from cegid_daemon.journal.word_index import LARGEST, WordIndex
from cegid_daemon.journal.words import words_in, words_of
from cegid_daemon.model import LogPolicy, utc_text

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Room:
    """A journal whose messages are what was received and what was sent."""

    def __init__(self, path: Path) -> None:
        self.connection = Connection(path)
        self.payloads = Payloads(self.connection)
        self.search = Search(self.connection, self.payloads)
        self.masking = Masking(self.connection, self.payloads)
        self.retention = Retention(self.connection, self.payloads, self.search)

    def add(
        self, number: int, received: bytes, *sent: bytes, at: datetime = NOON, redact: str | None = None,
        logged: bool = True,
    ) -> None:  # fmt: skip
        staged = [self.payloads.stage_bytes([body]) for body in (received, *sent)]
        with self.connection.transaction():
            payloads = [self.payloads.seal(one) for one in staged]
            self.connection.execute(
                "INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, payload, sha256, size, "
                "logged, redact, received_at, closed_at) VALUES (?, ?, 'stock', 'main', ?, 'done', '', ?, ?, ?, 1, ?, "
                "?, ?, ?)",
                (number, str(number), number, f"{number}.csv", payloads[0], staged[0].sha256, logged, redact,
                 utc_text(at), utc_text(at)),
            )  # fmt: skip
            for no, payload in enumerate(payloads[1:], 1):
                self.connection.execute(
                    "INSERT INTO part (message, no, payload, sha256, size, records) VALUES (?, ?, ?, ?, 1, 1)",
                    (number, no, payload, staged[no].sha256),
                )
            if logged:
                self.connection.execute(
                    "INSERT INTO log_entry (logged_at, message, store, integration, route, kind, variant, name, "
                    "endpoint, file_name, size, sha256) VALUES (?, ?, 'main', 'CEGID', 'stock', 'Request', "
                    "'Unmodified', 'n', 'e', 'f', 0, '')",
                    (utc_text(at), number),
                )
            self.search.enqueue(number, [])

    def index(self) -> None:
        while self.search.index_slice() + self.search.words.index_slice():
            pass

    def found(self, text: str, limit: int = 100) -> list[int]:
        self.index()
        return [hit.message for hit in self.search.find(text, limit)]

    def count(self, table: str) -> int:
        return int(self.connection.query(f"SELECT count(*) FROM {table}")[0][0])

    def bytes_of_index(self) -> int:
        return int(self.connection.query("SELECT sum(length(block)) FROM search_word_data")[0][0])

    def words(self) -> list[str]:
        return [row["term"] for row in self.connection.query("SELECT term FROM search_word_term")]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    opened = Room(tmp_path / "journal.sqlite")
    yield opened
    opened.connection.close()


def test_words_are_folded_and_cut_where_people_cut_them():
    assert words_in('Dépôt "STRASSE" 12.50 a;GA_CODE') == ["depot", "strasse", "12", "50", "ga", "code"]
    assert words_in("Straße \ud800 ½ 7") == ["strasse"]
    assert words_of(b"<a>M&#252;ller</a>") == {"muller"}
    assert words_of("Dépôt;x1".encode("utf-16")) == words_of("Dépôt;x1".encode("cp1252")) == {"depot", "x1"}


@pytest.mark.parametrize("text", ["Umbrella", "UMBRELLA", "umb", "red umbrella", "umbrella red", "red;umbr"])
def test_a_word_or_its_beginning_is_found_however_it_is_typed(room: Room, text: str) -> None:
    room.add(1, b"sku;A red Umbrella;3")
    room.add(2, b"sku;a red hat;3")
    assert room.found(text) == [1]


def test_words_of_what_was_received_and_of_what_was_sent_are_found_newest_first(room: Room) -> None:
    room.add(1, b"one Umbrella")
    room.add(2, b"two", b"part", b"<sent>umbrella</sent>")
    room.add(3, b"one Umbrella")
    room.index()
    assert room.search.find("umbrella") == [Hit(number, "umbrella", "word") for number in (3, 2, 1)]
    assert [hit.how for hit in room.search.find("umbr")] == ["word beginning"] * 3
    assert room.found("umbrella", limit=2) == [3, 2]
    assert room.found("um") == room.found("brella") == room.found('"') == room.found("umbrella hat") == []


@pytest.mark.parametrize("text", ["abc\0", "\0abc", "a\0b c", "\0\0\0\0"])
def test_a_nul_is_looked_for_like_any_character(room: Room, text: str) -> None:
    assert room.search.find(text) == []


def test_a_key_comes_before_a_word_where_not_all_can_be_shown(room: Room) -> None:
    room.add(1, b"x")
    room.search.enqueue(1, ["100234"])
    for number in range(2, 6):
        room.add(number, b"order 100234, copy %d" % number)
    assert room.found("100234", limit=2) == [5, 1]


def test_only_contents_up_to_a_size_are_indexed(room: Room) -> None:
    room.add(1, b"umbrella".ljust(LARGEST))
    room.add(2, b"umbrella".ljust(LARGEST + 1))
    assert room.found("umbrella") == [1]


def test_what_is_to_be_masked_is_neither_indexed_nor_found_before(room: Room) -> None:
    room.add(1, b"Jane Umbrella", redact='["NAME"]')
    assert room.found("umbrella") == []
    assert room.words() == []
    room.add(2, b"Jane Umbrella")
    assert room.found("umbrella") == [2], "the same bytes, on a route that hides nothing"
    masked = room.payloads.stage_bytes([b"Jane ********"], redacted=True)
    room.masking.swap(1, [(room.masking.copies(1)[0], masked)], "masked", NOON)
    assert (room.found("umbrella"), room.found("jane")) == ([2], [2, 1])


def test_words_indexed_before_masking_was_asked_for_go_with_it(room: Room) -> None:
    room.add(1, b"Jane Umbrella")
    assert room.found("umbrella") == [1]
    room.connection.execute("UPDATE message SET redact = '[\"NAME\"]'")
    assert room.found("umbrella") == []
    masked = room.payloads.stage_bytes([b"Jane ********"], redacted=True)
    room.masking.swap(1, [(room.masking.copies(1)[0], masked)], "masked", NOON)
    room.index()
    assert room.words() == ["jane"]


def test_messages_that_are_not_logged_leave_no_words(room: Room) -> None:
    room.add(1, b"umbrella", logged=False)
    assert room.found("umbrella") == []
    assert room.words() == []


def test_pruned_contents_lose_their_words_and_shared_ones_keep_them(room: Room) -> None:
    old = NOON - timedelta(days=40)
    room.add(1, b"hat umbrella", b"coat", at=old)
    room.add(2, b"shared scarf", at=old)
    room.add(3, b"shared scarf")
    room.index()
    assert room.retention.prune(NOON, {"stock": LogPolicy(payload_days=30, entry_days=400)}).payloads == 2
    assert room.words() == ["scarf", "shared"]
    assert room.found("umbrella") == []
    assert room.found("scarf") == [3]
    assert room.count("search_word_content") == 1


@pytest.mark.parametrize("kept", [0, 8])
def test_words_of_pruned_contents_give_their_room_back(kept: int, room: Room) -> None:
    room.connection.checkpoint()
    empty = room.connection.path.stat().st_size  # its tables alone
    for number in range(1, 41):
        chance = random.Random(number)
        body = b" ".join(chance.randbytes(8).hex().encode() for _ in range(2_000))
        room.add(number, body, at=NOON if number <= kept else NOON - timedelta(days=40))
    room.index()
    room.connection.checkpoint()
    before, index = room.connection.path.stat().st_size, room.bytes_of_index()
    room.retention.prune(NOON, {"stock": LogPolicy(payload_days=30, entry_days=400)})
    assert room.bytes_of_index() < index * (kept + 1) // 40
    assert room.connection.path.stat().st_size - empty < (before - empty) * (kept + 10) // 40
    assert room.count("search_word_content") == kept
    assert room.found(random.Random(1).randbytes(8).hex()) == ([1] if kept else [])


def test_a_message_without_entries_is_no_longer_found_by_its_words(room: Room) -> None:
    room.add(1, b"umbrella", at=NOON - timedelta(days=40))
    room.index()
    room.retention.prune(NOON, {"stock": LogPolicy(payload_days=None, entry_days=30)})
    assert room.found("umbrella") == []


def test_an_index_made_by_other_rules_is_made_anew_in_slices(room: Room) -> None:
    for number in range(1, 251):
        room.add(number, b"umbrella %d" % number)
    assert len(room.found("umbrella", limit=300)) == 250
    room.connection.execute("UPDATE about SET value = 'older' WHERE key = 'words'")
    again = WordIndex(room.connection)
    assert again.index_slice() == 100
    assert room.count("search_word_content") == 100
    assert room.found("umbrella 250") == [250], "newest first"
    while again.index_slice():
        pass
    assert room.found("umbrella 1") != []
    assert len(room.found("umbrella", limit=300)) == 250


def test_a_slice_is_bounded_and_a_message_of_many_parts_takes_several(room: Room) -> None:
    chance = random.Random(7)
    bodies = [" ".join(f"{chance.getrandbits(40):010x}" for _ in range(5_000)).encode() for _ in range(45)]
    room.add(1, *bodies)
    room.search.index_slice()
    slices = 0
    while room.search.words.index_slice():
        slices += 1
        assert room.count("search_word_content") <= 3 * slices
    assert (slices, room.count("search_word_content"), room.count("search_word_due")) == (15, 45, 0)
    assert room.found(bodies[44].split()[-1].decode()) == [1]


def test_a_broken_content_ends_neither_the_indexing_nor_its_forgetting(room: Room) -> None:
    room.add(1, b"hat umbrella")
    room.add(2, b"scarf")
    room.connection.execute("UPDATE payload_chunk SET body = x'00' WHERE payload = 1")
    assert room.found("scarf") == [2]
    assert room.found("umbrella") == []
    room.connection.execute("UPDATE message SET payload = NULL WHERE id = 1")
    assert room.payloads.forget([1]) == 1
