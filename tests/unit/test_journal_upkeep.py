"""The log as it is read, search, retention and backup."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cegid_daemon.errors import Refused
from cegid_daemon.journal.backup import backup
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.log import LogBook
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.retention import Retention
from cegid_daemon.journal.search import Hit, Search
from cegid_daemon.model import LogPolicy, utc_text

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
VIEW_COLUMNS = (
    "id, logged_at, store, integration, route, message_id, kind, variant, name, part, endpoint, file_name, size, "
    "sha256, outcome, error"
)


class Room:
    """A journal with a short way to tell it about messages."""

    def __init__(self, path: Path) -> None:
        self.connection = Connection(path)
        self.payloads = Payloads(self.connection)
        self.search = Search(self.connection, self.payloads)
        self.log = LogBook(self.connection, self.payloads)
        self.retention = Retention(self.connection, self.payloads, self.search)

    def one(self, sql: str) -> int:
        row = self.connection.one(sql)
        assert row is not None
        return int(row[0])

    def keep(self, content: bytes) -> int:
        staged = self.payloads.stage_bytes([content])
        with self.connection.transaction():
            return self.payloads.seal(staged)

    def add(
        self, number: int, *, state: str = "done", route: str = "stock", at: datetime = NOON, name: str = "S.csv",
        received: bytes = b"in", sent: bytes = b"out", delivery: str = "delivered", error: str | None = None,
    ) -> None:  # fmt: skip
        """A message, its one part and the pair of entries, numbered `number` (entries: 2n-1 and 2n)."""
        raw, made, when = self.keep(received), self.keep(sent), utc_text(at)
        closed = when if state in ("done", "failed", "discarded") else None
        with self.connection.transaction():
            self.connection.execute(
                "INSERT INTO source (id, endpoint, place, folder, name, size, mtime_ns, inode, ctime_ns, state, "
                "filed_folder, filed_name, taken_at) "
                "VALUES (?, 'inbox', 'file:/in', 'f', ?, 2, 0, 0, 0, 'filed', 'f/processed', ?, ?)",
                (number, name, name, when),
            )
            self.connection.execute(
                "INSERT INTO message (id, uid, route, store, seq, state, source, folder, file_name, payload, sha256, "
                "size, logged, received_at, closed_at, coverage, error) "
                "VALUES (?, ?, ?, 'main', ?, ?, ?, 'f', ?, ?, '', 2, 1, ?, ?, '{\"read\": 3}', ?)",
                (number, str(number), route, number, state, number, name, raw, when, closed, error),
            )
            self.connection.execute("INSERT INTO part VALUES (?, ?, 1, ?, '', 3, 3)", (number, number, made))
            self.connection.execute(
                "INSERT INTO delivery VALUES (?, ?, ?, 'outbox', 'file:/out', 'o', ?, '.t', 'u', ?, ?, '')",
                (number, number, number, f"{name}.xml", delivery, when),
            )
            entry = "INSERT INTO log_entry VALUES (?, ?, ?, ?, ?, 'main', 'CEGID', ?, 'Request', ?, ?, ?, ?, 2, 'x', ?)"
            self.connection.execute(
                entry, (2 * number - 1, when, number, None, None, route, "Unmodified", "Stock", "inbox", name, raw)
            )
            self.connection.execute(
                entry,
                (
                    2 * number, when, number, number, number, route, "Modified", "Folder Delivery: Stock", "outbox",
                    f"{name}.xml", made,
                ),
            )  # fmt: skip


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    opened = Room(tmp_path / "journal.sqlite")
    yield opened
    opened.connection.close()


def test_a_plain_sqlite_connection_reads_the_log_by_the_names_of_the_contract(room: Room) -> None:
    room.add(1)
    plain = sqlite3.connect(room.connection.path)
    found = plain.execute(f"SELECT {VIEW_COLUMNS} FROM api_integration_log ORDER BY id").fetchall()
    names = [column[0] for column in plain.execute("SELECT * FROM api_integration_log").description]
    plain.close()
    assert names == VIEW_COLUMNS.split(", ")
    assert [(entry[7], entry[8], entry[9], entry[14], entry[15]) for entry in found] == [
        ("Unmodified", "Stock", None, "ok", None),
        ("Modified", "Folder Delivery: Stock", 1, "ok", None),
    ]


@pytest.mark.parametrize(
    ("state", "delivery", "outcomes"),
    [
        ("received", "due", ["waiting", "waiting"]), ("waiting", "due", ["waiting", "waiting"]),
        ("held", "due", ["held", "held"]), ("unsure", "unsure", ["unsure", "unsure"]),
        ("failed", "refused", ["failed", "failed"]), ("failed", "delivered", ["failed", "ok"]),
        ("delivered", "delivered", ["ok", "ok"]),
    ],
)  # fmt: skip
def test_the_outcome_of_an_entry_follows_message_and_delivery(
    room: Room, state: str, delivery: str, outcomes: list[str]
) -> None:
    room.add(1, state=state, delivery=delivery, error='{"text": "it broke"}' if state == "failed" else None)
    assert [entry.outcome for entry in room.log.of_message(1)] == outcomes
    assert [entry.error for entry in room.log.of_message(1)] == [
        "it broke" if outcome == "failed" else None for outcome in outcomes
    ]


def test_entries_come_by_page_and_filter(room: Room) -> None:
    for number in range(1, 6):
        room.add(number, at=NOON + timedelta(hours=number), route="stock" if number % 2 else "orders")
    room.add(6, state="failed", delivery="refused", at=NOON + timedelta(hours=6))
    first = room.log.entries(limit=3)
    assert [entry.id for entry in first] == [12, 11, 10]
    assert [entry.id for entry in room.log.entries(limit=3, before_id=first[-1].id)] == [9, 8, 7]
    assert [entry.id for entry in room.log.entries(after_id=9, newest_first=False)] == [10, 11, 12]
    assert [entry.id for entry in room.log.entries(route="orders", variant="Modified")] == [8, 4]
    assert [entry.id for entry in room.log.entries(outcome="failed")] == [12, 11]
    hours = {"since": NOON + timedelta(hours=2), "until": NOON + timedelta(hours=3)}
    assert [entry.id for entry in room.log.entries(**hours)] == [4, 3]
    assert room.log.entries(store="paris") == room.log.entries(kind="Response") == []


def test_pages_of_a_route_go_by_its_index(room: Room) -> None:
    plan = room.connection.query(
        "EXPLAIN QUERY PLAN SELECT * FROM api_integration_log WHERE route = 'a' AND id < 9 ORDER BY id DESC LIMIT 5"
    )
    details = " / ".join(row["detail"] for row in plan)
    assert "log_entry_route" in details
    assert "TEMP B-TREE" not in details


def test_everything_known_about_a_message_stands_together(room: Room) -> None:
    room.add(1)
    room.connection.execute("INSERT INTO attempt VALUES (1, 'now', 1, 1, 'deliver', 'ok', 'put', NULL)")
    room.connection.execute("INSERT INTO decision VALUES (1, 'now', 'ann', 'release', 1, 'checked')")
    known = room.log.message(1)
    assert known is not None
    assert known["source"] == {
        "endpoint": "inbox", "folder": "f", "name": "S.csv", "state": "filed", "filed_as": "f/processed/S.csv"
    }  # fmt: skip
    assert known["coverage"]["read"] == 3
    assert [known[name][0][field] for name, field in (
        ("parts", "records"), ("deliveries", "state"), ("attempts", "detail"), ("decisions", "reason"),
    )] == [3, "delivered", "put", "checked"]  # fmt: skip
    assert (known["entries"], known["replays"]) == ([1, 2], [])
    assert room.log.message(2) is None


def test_the_bytes_of_an_entry_are_those_received_and_sent(room: Room) -> None:
    room.add(1)
    before, after = room.log.of_message(1)
    assert (b"".join(room.log.payload_of(before)), b"".join(room.log.payload_of(after))) == (b"in", b"out")
    assert room.log.entry(2) == after
    assert room.log.entry(3) is None


@pytest.fixture(params=["due", "indexed"])
def found_by(room: Room, request: pytest.FixtureRequest) -> Room:
    """A room with three messages, their keys still due or already in the index."""
    for number, name, keys in (
        (1, "STOCK_0940.csv", ["3600001", "3600002"]),
        (2, "été\\xff.csv", ["3600002", 'say "12"']),
        (3, "STOCK_1040.csv", []),
    ):
        room.add(number, name=name)
        room.search.enqueue(number, keys)
    while request.param == "indexed" and room.search.index_slice(2):
        pass
    return room


def test_messages_are_found_by_key_and_by_file_name(found_by: Room) -> None:
    find = found_by.search.find
    assert find("3600002") == [Hit(2, "3600002", "exact"), Hit(1, "3600002", "exact")]
    assert [(hit.message, hit.how) for hit in find("36")] == [(2, "beginning"), (1, "beginning")]
    assert [(hit.message, hit.how) for hit in find("00001")] == [(1, "part")]
    assert [(hit.message, hit.how) for hit in find("stock_1")] == [(3, "part")]
    assert [hit.message for hit in find("STOCK_")] == [3, 1]
    assert [hit.message for hit in find("STOCK_", limit=1)] == [3]
    assert [hit.message for hit in find('"12"')] == [2]
    assert [hit.message for hit in find("été\udcff")] == [2]
    assert find("nothing") == find("6") == []
    assert [hit.how for hit in find("STOCK_0940.csv.xml")] == ["exact"]


def test_a_slice_indexes_no_more_than_it_was_told(room: Room) -> None:
    room.add(1)
    room.search.enqueue(1, [f"K{number}" for number in range(10)])
    assert room.search.index_slice(4) == 4
    assert room.one("SELECT count(*) FROM search_posting") == 4
    assert [hit.how for hit in room.search.find("K9")] == ["exact"]
    while room.search.index_slice(4):
        pass
    assert room.one("SELECT count(*) FROM search_posting") == 12
    assert room.one("SELECT count(*) FROM search_due") == 0


def test_forgetting_a_message_takes_the_keys_only_it_had(room: Room) -> None:
    for number in (1, 2):
        room.add(number)
        room.search.enqueue(number, ["shared", f"own {number}"])
    while room.search.index_slice():
        pass
    room.search.forget(1)
    assert room.search.find("own 1") == []
    assert [hit.message for hit in room.search.find("hare")] == [2]
    room.connection.execute("INSERT INTO search_key_fts (search_key_fts) VALUES ('integrity-check')")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_contents_are_scanned_in_the_encodings_cegid_writes(room: Room, encoding: str) -> None:
    room.add(1, received="a;Dépôt;b".encode(encoding))
    room.add(2, sent="c;Dépôt;d".encode(encoding))
    room.add(3)
    hits = list(room.search.scan("Dépôt", go_on=lambda _messages, _size: True))
    assert hits == [Hit(2, "Dépôt", "sent"), Hit(1, "Dépôt", "received")]


def test_a_text_across_two_frames_is_found(room: Room) -> None:
    room.add(1, received=b"x" * ((1 << 20) - 3) + b"needle")
    assert len(list(room.search.scan("needle", go_on=lambda _messages, _size: True))) == 1


def test_a_scan_ends_when_told_and_goes_on_where_it_was(room: Room) -> None:
    for number in range(1, 6):
        room.add(number, received=b"needle %d" % number)
    first = list(room.search.scan("needle", go_on=lambda messages, _size: messages < 2))
    assert [hit.message for hit in first] == [5, 4, 3]
    rest = room.search.scan("needle", go_on=lambda _messages, _size: True, start=first[-1].message)
    assert [hit.message for hit in rest] == [2, 1]


OLD = NOON - timedelta(days=40)
POLICY = {"stock": LogPolicy(payload_days=30, entry_days=400)}


def test_old_payloads_go_and_their_entries_stay(room: Room) -> None:
    room.add(1, at=OLD, received=b"old", sent=b"old out")
    room.add(2, received=b"new", sent=b"new out")
    report = room.retention.prune(NOON, POLICY)
    assert (report.messages, report.payloads, report.entries) == (1, 2, 0)
    assert [entry.payload is None for entry in room.log.entries(newest_first=False)] == [True, True, False, False]
    with pytest.raises(Refused, match="no longer kept"):
        room.log.payload_of(room.log.of_message(1)[0])
    assert room.retention.prune(NOON, POLICY).messages == 0


def test_a_content_that_a_younger_message_shares_stays(room: Room) -> None:
    room.add(1, at=OLD)
    room.add(2)
    assert room.retention.prune(NOON, POLICY).payloads == 0
    assert b"".join(room.log.payload_of(room.log.of_message(2)[0])) == b"in"


@pytest.mark.parametrize("state", ["received", "rewritten", "delivered", "waiting", "held", "unsure", "failed"])
def test_what_is_not_settled_is_never_pruned(room: Room, state: str) -> None:
    room.add(1, at=NOON - timedelta(days=4000), state=state)
    report = room.retention.prune(NOON, {"stock": LogPolicy(payload_days=0, entry_days=0)})
    assert (report.messages, report.payloads, report.entries) == (0, 0, 0)


def test_old_entries_go_with_their_place_in_the_search_but_the_ledger_stays(room: Room) -> None:
    room.add(1, at=NOON - timedelta(days=401))
    room.add(2, at=NOON - timedelta(days=399))
    room.search.enqueue(1, ["3600001"])
    room.connection.execute("INSERT INTO exported VALUES ('stock', 'E1', 1)")
    while room.search.index_slice():
        pass
    assert room.retention.prune(NOON, POLICY).entries == 2
    assert [entry.message_id for entry in room.log.entries()] == [2, 2]
    assert room.search.find("3600001") == []
    assert room.log.message(1) is not None
    assert room.one("SELECT count(*) FROM exported") == 1


def test_a_route_without_a_policy_keeps_everything(room: Room) -> None:
    room.add(1, at=OLD, route="left out")
    room.add(2, at=OLD)
    assert room.retention.prune(NOON, {"stock": LogPolicy(None, None)}).messages == 0


def test_pruning_really_shrinks_the_file_and_stops_when_told(room: Room) -> None:
    for number in range(1, 9):
        room.add(number, at=OLD, received=random.Random(number).randbytes(1 << 20))
    room.connection.checkpoint()
    before = room.connection.path.stat().st_size
    assert room.retention.prune(NOON, POLICY, go_on=lambda: False).messages == 0
    report = room.retention.prune(NOON, POLICY)
    assert report.freed > 7 << 20
    assert room.connection.path.stat().st_size < before - (7 << 20)


def test_a_backup_is_a_whole_journal_of_one_moment(room: Room, tmp_path: Path) -> None:
    room.add(1)
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        if not steps:
            room.add(2)  # somebody writes meanwhile
        steps.append((done, total))

    dest = tmp_path / "copies" / "journal backup.sqlite"
    dest.parent.mkdir()
    dest.write_text("an older copy")
    backup(room.connection, dest, progress)
    assert steps[-1][0] == steps[-1][1] > 0
    assert dest.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in dest.parent.iterdir()] == [dest.name]
    copy = Room(dest)
    assert [entry.message_id for entry in copy.log.entries()] == [1, 1]
    copy.connection.close()


def test_a_backup_that_cannot_be_written_says_so_and_leaves_nothing(room: Room, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="folder that exists"):
        backup(room.connection, tmp_path / "none" / "copy.sqlite")
    with pytest.raises(Refused, match="its own backup"):
        backup(room.connection, room.connection.path)


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", ".kept"])
def test_a_backup_never_replaces_a_file_of_the_journal(ending: str, room: Room, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(room.connection.path.parent)
    with pytest.raises(Refused, match="its own backup"):
        backup(room.connection, link / (room.connection.path.name + ending))


def test_a_backup_replaces_nothing_but_a_file(room: Room, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(Refused, match="nothing but a file"):
        backup(room.connection, pipe)
    assert pipe.is_fifo()


def test_a_broken_copy_does_not_replace_the_last_good_one(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "copy.sqlite"
    dest.write_text("the last good one")
    room.connection.execute("PRAGMA foreign_keys = OFF")
    room.connection.execute("INSERT INTO part VALUES (1, 77, 1, NULL, '', 0, 0)")
    with pytest.raises(Exception, match="not whole"):
        backup(room.connection, dest)
    assert dest.read_text() == "the last good one"
    assert not list(tmp_path.glob(".copy*"))
