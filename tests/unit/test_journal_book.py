"""The buffer book: history by revisions, imports whole or not at all, settings, and the reader of the workers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cegid_daemon.errors import Refused
from cegid_daemon.journal.book import Buffer, BufferBook
from cegid_daemon.journal.book_pages import BookPages
from cegid_daemon.journal.book_reader import BookReader
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.intake import BufferRow
from cegid_daemon.journal.reader import connect
from cegid_daemon.model import Store

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BY = {"who": "ann", "origin": "cli", "now": NOON}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    opened = Connection(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def book(connection: Connection) -> BufferBook:
    return BufferBook(connection)


@pytest.fixture
def raw(connection: Connection) -> Iterator[sqlite3.Connection]:
    opened = connect(connection.path, readonly=True)
    yield opened
    opened.close()


def row(
    line: int, key: str, value: str, level: str = "variation", store: str = "main"
) -> tuple[int, str, str, str, str]:
    return line, store, level, key, value


def test_a_value_set_is_the_value_and_its_past_stays(book: BufferBook) -> None:
    book.set("main", "variation", "A1", "2", **BY)
    past = book.current_revision()
    book.set("main", "variation", " A1\u00a0", "5", who="bob", origin="console", now=NOON + timedelta(hours=1))
    assert book.get("main", "variation", "A1") == Buffer("main", "variation", "A1", "5")
    assert book.get("main", "variation", "A1", past) == Buffer("main", "variation", "A1", "2")
    assert book.get("main", "variation", "A1", 0) is None
    assert [(change.who, change.origin, change.value) for change in book.history("main", "variation", "A1")] == [
        ("ann", "cli", "2"),
        ("bob", "console", "5"),
    ]


def test_what_applied_at_a_past_moment_can_be_asked_for(book: BufferBook) -> None:
    book.set("main", "store", "", "1", **BY)
    book.set("main", "store", "", "9", who="bob", origin="cli", now=NOON + timedelta(hours=2))
    moments = [NOON - timedelta(seconds=1), NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=3)]
    found = [book.get("main", "store", "", book.as_of(moment)) for moment in moments]
    assert [buffer and buffer.value for buffer in found] == [None, "1", "1", "9"]


def test_setting_the_same_value_again_is_no_change(book: BufferBook) -> None:
    book.set("main", "product", "P", "2", **BY)
    book.set("main", "product", "P", "2", **BY)
    assert len(book.history("main", "product", "P")) == 1
    assert book.current_revision() == 1


def test_unsetting_keeps_the_history(book: BufferBook) -> None:
    book.set("main", "product", "P", "2", **BY)
    book.unset("main", "product", "P", **BY)
    assert book.get("main", "product", "P") is None
    assert [change.value for change in book.history("main", "product", "P")] == ["2", ""]
    assert list(book.list()) == []


def test_a_text_that_is_no_value_is_kept_and_defines_nothing(book: BufferBook) -> None:
    assert book.set("main", "product", "P", "-2", **BY).units is None
    found = book.get("main", "product", "P")
    assert found is not None
    assert (found.value, found.units) == ("-2", None)


@pytest.mark.parametrize(("level", "key"), [("shelf", "A"), ("store", "A"), ("product", " \u00a0")])
def test_a_level_or_key_that_cannot_be_is_refused(book: BufferBook, level: str, key: str) -> None:
    with pytest.raises(Refused):
        book.set("main", level, key, "1", **BY)


def test_an_import_merges_as_one_revision_and_writes_only_what_differs(book: BufferBook) -> None:
    book.set("main", "variation", "stays", "7", **BY)
    book.set("main", "variation", "same", "1", **BY)
    book.set("main", "variation", "gone", "1", **BY)
    report = book.import_rows(
        [row(2, "same", "1"), row(3, "new", " 3"), row(4, "gone", " "), row(5, "never", "")], **BY
    )
    assert (report.read, report.written, report.revision) == (4, 2, 4)
    assert {buffer.key: buffer.units for buffer in book.list()} == {"new": 3, "same": 1, "stays": 7}
    assert len(book.history("main", "variation", "same")) == 1
    again = book.import_rows([row(2, "same", "1"), row(3, "new", " 3")], **BY)
    assert (again.written, again.revision, book.current_revision()) == (0, None, 4)


def test_an_import_reports_ignored_values_and_malformed_rows_with_their_lines(book: BufferBook) -> None:
    book.set("main", "variation", "A", "4", **BY)
    rows = [
        row(2, "A", "-1"), row(3, "B", "2.0"), row(4, "", "1"), row(5, "C", "1", level="shelf"),
        row(6, "D", "1", store="paris"), row(7, "x", "1", level="store"), row(8, "", "3", level=" Store "),
    ]  # fmt: skip
    report = book.import_rows(rows, stores={"main"}, **BY)
    assert [(remark.line, remark.value) for remark in report.ignored] == [(2, "-1"), (3, "2.0")]
    assert [remark.line for remark in report.malformed] == [4, 5, 6, 7]
    assert (report.read, report.ignored_count, report.malformed_count) == (7, 2, 4)
    assert book.get("main", "store", "") == Buffer("main", "store", "", "3")
    found = book.get("main", "variation", "A")
    assert found is not None
    assert (found.value, found.units) == ("-1", None)


def test_the_last_row_of_a_key_counts(book: BufferBook) -> None:
    assert book.import_rows([row(2, "A", "1"), row(3, "A", "2")], **BY).written == 1
    assert book.get("main", "variation", "A") == Buffer("main", "variation", "A", "2")


def test_an_import_that_breaks_off_changes_nothing(book: BufferBook, connection: Connection) -> None:
    def broken() -> Iterator[BufferRow]:
        for line in range(12_000):
            yield row(line, f"K{line}", "1")
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        book.import_rows(broken(), **BY)
    assert book.current_revision() == 0
    assert list(book.list()) == []
    assert connection.query("SELECT name FROM sqlite_temp_schema") == []
    assert book.import_rows([row(1, "A", "1")], **BY).written == 1


def test_a_file_of_both_is_one_revision_of_buffers_and_catalogue(book: BufferBook) -> None:
    pairs: list[tuple[int, str, str, str]] = []

    def rows() -> Iterator[tuple[int, str, str, str, str]]:
        pairs.append((0, "main", "A", "P"))
        yield row(1, "A", "1")

    buffers, catalogue = book.import_fed(rows(), pairs, **BY)
    assert (buffers.written, catalogue.written, buffers.revision) == (1, 1, catalogue.revision)
    revision = book.current_revision()
    buffers, catalogue = book.import_fed([row(1, "A", "1")], pairs, **BY)
    assert (buffers.written, buffers.revision, catalogue.revision) == (0, None, None)
    assert book.current_revision() == revision


def test_an_import_joins_the_transaction_around_it(book: BufferBook, connection: Connection) -> None:
    with pytest.raises(ZeroDivisionError), connection.transaction():
        book.import_rows([row(1, "A", "1")], **BY)
        raise ZeroDivisionError
    assert book.get("main", "variation", "A") is None
    assert book.current_revision() == 0


def test_nobody_beside_sees_an_import_before_it_is_whole(book: BufferBook, raw: sqlite3.Connection) -> None:
    seen: list[int] = []

    def watched() -> Iterator[BufferRow]:
        for line in range(11_000):
            if line % 5_500 == 0:
                seen.append(raw.execute("SELECT count(*) FROM buffer").fetchone()[0])
            yield row(line, f"K{line}", "1")

    progress: list[int] = []
    book.import_rows(watched(), progress=progress.append, **BY)
    assert seen == [0, 0]
    assert raw.execute("SELECT count(*) FROM buffer").fetchone()[0] == 11_000
    assert progress == [5_000, 10_000, 11_000]


def test_a_list_of_many_pages_is_whole_and_filtered(book: BufferBook) -> None:
    book.import_rows([row(n, f"K{n:05}", str(n)) for n in range(2_500)], **BY)
    book.import_rows([row(n, f"K{n:05}", "0") for n in range(10)], **BY)
    book.set("paris", "product", "K00001", "1", **BY)
    book.set("main", "product", "P", "1", **BY)
    assert [buffer.key for buffer in book.list("main", "variation")] == [f"K{n:05}" for n in range(2_500)]
    assert sum(buffer.value == "0" for buffer in book.list("main", "variation")) == 10
    assert [buffer.store for buffer in book.list(level="product")] == ["main", "paris"]
    assert sum(1 for _ in book.list(revision=1)) == 2_500


def test_an_export_imports_again_to_the_same_book(book: BufferBook, tmp_path: Path) -> None:
    book.import_rows([row(1, "A", "007"), row(2, "", "2", level="store"), row(3, "P", "x", level="product")], **BY)
    other = Connection(tmp_path / "other.sqlite")
    copied = BufferBook(other)
    copied.import_rows([(line, *cells) for line, cells in enumerate(book.export_rows())], **BY)
    assert list(copied.list()) == list(book.list())
    other.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    imports=st.lists(
        st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from(["", "0", "1", "x"]), max_size=5), max_size=6
    )
)
def test_every_revision_of_any_history_reads_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, imports: list[dict[str, str]]
) -> None:
    connection = Connection(tmp_path_factory.mktemp("book") / "journal.sqlite")
    book, now, then = BufferBook(connection), dict[str, str](), dict[int, dict[str, str]]()
    for values in imports:
        book.import_rows([row(1, key, value) for key, value in values.items()], **BY)
        now.update(values)
        then[book.current_revision()] = {key: value for key, value in now.items() if value}
    raw = connect(connection.path, readonly=True)
    for revision, values in then.items():
        assert {buffer.key: buffer.value for buffer in book.list(revision=revision)} == values
        assert BookReader(raw, "main", "r", revision, 0).variations("ABCDE") == values
    raw.close()
    connection.close()


def test_the_catalogue_is_taught_and_remembers(book: BufferBook) -> None:
    book.belongs("main", [("A1", "A"), ("B1", "B")], **BY)
    past = book.current_revision()
    assert book.belongs("main", [("A1", "A")], **BY).written == 0
    book.import_catalogue([(2, "main", "A1", "Z"), (3, "main", "B1", ""), (4, "x", "C", "C")], stores=["main"], **BY)
    assert (book.product_of("main", "A1"), book.product_of("main", "B1")) == ("Z", None)
    assert (book.product_of("main", "A1", past), book.product_of("main", "B1", past)) == ("A", "B")
    assert list(book.catalogue("main")) == [("main", "A1", "Z")]


def test_first_values_are_written_once_and_never_over_an_operator(book: BufferBook) -> None:
    store = Store("main", stock_buffer=2, log_requests=False)
    book.settings.first_values([store], now=NOON)
    assert book.settings.effective(store) == {"log-requests": "false", "enabled": "true", "stock-buffer": "2"}
    book.settings.set("main", "stock-buffer", "", **BY)
    book.settings.set("main", "log-requests", "True", **BY)
    revision = book.current_revision()
    book.settings.first_values([store], now=NOON)
    assert book.current_revision() == revision
    assert book.settings.log_requests(store) is True
    assert book.get("main", "store", "") is None
    assert [(d.key, d.configured, d.kept) for d in book.settings.differences([store])] == [
        ("log-requests", "false", "true"),
        ("stock-buffer", "2", ""),
    ]


def test_the_stock_buffer_setting_is_the_buffer_of_the_store(book: BufferBook) -> None:
    book.settings.set("main", "stock-buffer", "3", **BY)
    assert book.get("main", "store", "") == Buffer("main", "store", "", "3")
    book.set("main", "store", "", "4", **BY)
    assert book.settings.get("main", "stock-buffer") == "4"


@pytest.mark.parametrize(("key", "value"), [("colour", "1"), ("enabled", "maybe"), ("stock-buffer", "-1")])
def test_a_setting_that_cannot_be_is_refused(book: BufferBook, key: str, value: str) -> None:
    with pytest.raises(Refused):
        book.settings.set("main", key, value, **BY)


def test_a_store_without_kept_settings_has_those_of_the_configuration(book: BufferBook) -> None:
    store = Store("new", enabled=False)
    assert (book.settings.enabled(store), book.settings.log_requests(store)) == (False, True)
    assert book.settings.differences([store]) == []


def test_a_worker_reads_every_level_at_its_revision(book: BufferBook, raw: sqlite3.Connection) -> None:
    book.import_rows([row(1, "A1", "1"), row(2, "A", "2", "product"), row(3, "", "3", "store")], **BY)
    book.belongs("main", [("A1", "A")], **BY)
    then = book.current_revision()
    book.import_rows([row(1, "A1", ""), row(2, "A", "x", "product"), row(3, "", "9", "store")], **BY)
    before, after = (BookReader(raw, "main", "r", revision, 0) for revision in (then, book.current_revision()))
    assert (before.variations(["A1", "B"]), before.products(["A"]), before.store_buffer()) == (
        {"A1": "1"},
        {"A": "2"},
        "3",
    )
    assert (after.variations(["A1", "B"]), after.products(["A"]), after.store_buffer()) == ({}, {"A": "x"}, "9")
    assert before.catalogue(["A1", "B"]) == {"A1": "A"}
    assert BookReader(raw, "paris", "r", then, 0).store_buffer() is None
    assert before.variations([]) == before.products(()) == {}


def test_a_worker_reads_a_thousand_keys_at_once(book: BufferBook, raw: sqlite3.Connection) -> None:
    book.import_rows([row(n, f"K{n}", str(n)) for n in range(3_000)], **BY)
    reader = BookReader(raw, "main", "r", book.current_revision(), 0)
    keys = [f"K{n}" for n in range(0, 4_000, 4)]
    assert reader.variations(keys) == {f"K{n}": str(n) for n in range(0, 3_000, 4)}


def message(connection: Connection, number: int, state: str, replay_of: int | None = None) -> None:
    connection.execute(
        "INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, sha256, size, logged, replay_of, "
        "received_at) VALUES (?, ?, 'orders', 'main', ?, ?, '', 'n', '', 0, 1, ?, '')",
        (number, str(number), number, state, replay_of),
    )


@pytest.mark.parametrize(
    ("owner", "state", "asking", "found"),
    [
        (1, "done", 9, {"E1"}),  # delivered by another
        (1, "waiting", 9, {"E1"}),  # on its way
        (1, "failed", 9, set()),  # never went out
        (1, "discarded", 9, set()),
        (1, "done", 1, set()),  # its own
        (1, "done", 2, set()),  # of the one it replays
        (2, "done", 1, set()),
        (2, "done", 3, set()),  # two replays of the same message
        (1, "done", 0, {"E1"}),  # a rewriting that is no message's
    ],
)
def test_a_record_key_belongs_to_one_message_and_its_replays(
    connection: Connection, raw: sqlite3.Connection, owner: int, state: str, asking: int, found: set[str]
) -> None:
    for number, replay_of in ((1, None), (2, 1), (3, 1), (9, None)):
        message(connection, number, state if number == owner else "received", replay_of)
    connection.execute("INSERT INTO exported VALUES ('orders', 'E1', ?)", (owner,))
    reader = BookReader(raw, "main", "orders", 0, asking)
    assert set(reader.exported(["E1", "E2"])) == found
    assert not BookReader(raw, "main", "other", 0, asking).exported(["E1"])


def test_a_failed_message_owns_what_left_its_hands(connection: Connection, raw: sqlite3.Connection) -> None:
    message(connection, 1, "failed")
    connection.execute("INSERT INTO part VALUES (1, 1, 1, NULL, '', 0, 1)")
    connection.execute(
        "INSERT INTO delivery (part, message, endpoint, place, folder, name, temporary, request_uid, state) "
        "VALUES (1, 1, 'e', '', '', '', '', '', 'unsure')"
    )
    connection.execute("INSERT INTO exported VALUES ('orders', 'E1', 1)")
    assert set(BookReader(raw, "main", "orders", 0, 9).exported(["E1"])) == {"E1"}


def test_the_book_knows_what_a_buffer_or_the_catalogue_names(book: BufferBook) -> None:
    book.set("main", "variation", "V1", "3", **BY)
    book.belongs("main", [("V2", "P2")], **BY)
    assert [key for key in ("V1", "V2", "P2", " V1 ", "V3", "") if book.knows("main", key)] == [
        "V1",
        "V2",
        "P2",
        " V1 ",
    ]
    assert not book.knows("other", "V1")


def test_keys_are_found_by_their_beginning_and_products_without_reading_the_catalogue(
    book: BufferBook, connection: Connection
) -> None:
    book.belongs("main", [("2000000000015", "000123"), ("2000000000022", "000123"), ("3", "2-P")], **BY)
    book.set("main", "variation", "20_0", "3", **BY)
    book.set("other", "variation", "2000", "3", **BY)
    pages = BookPages(connection)
    assert pages.beginning("main", "2", 10) == ["2-P", "2000000000015", "2000000000022", "20_0"]
    assert pages.beginning("main", "2000000000015", 10) == []
    assert pages.beginning("main", "20", 1) == ["2000000000015"]
    assert pages.members("main", "000123", 10) == ["2000000000015", "2000000000022"]
    asked: list[str] = []
    connection._raw.set_trace_callback(asked.append)
    assert book.knows("main", "000123")
    pages.members("main", "000123", 10)
    pages.beginning("main", "0", 10)
    connection._raw.set_trace_callback(None)
    plans = [row["detail"] for sql in asked for row in connection.query(f"EXPLAIN QUERY PLAN {sql}")]
    assert len(plans) > 5
    assert [plan for plan in plans if "SCAN catalogue" in plan or plan.endswith("(store=?)")] == []
