"""Pages of the log: every filter gives what the view gives, in order, page by page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.log import LogBook
from cegid_daemon.journal.paging import Pages, Wanted
from cegid_daemon.journal.payloads import Payloads
from cegid_daemon.journal.sorting import Sorting
from cegid_daemon.model import utc_text

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROUTES = {"stock": ("main", "Request"), "orders": ("main", "Response"), "products": ("outlet", "Request")}
NAMES = ("STOCK.csv", "b.xml", "stock_2.csv", "A.csv", "a.csv", "B.xml", "Stock.csv")
STATES = ("done", "failed", "waiting", "done", "held")


def fill(connection: Connection, count: int) -> None:
    """Messages with an Unmodified and, where done, a Modified entry."""
    with connection.transaction():
        for number in range(1, count + 1):
            route = list(ROUTES)[number % 3]
            store, kind = ROUTES[route]
            state, at = STATES[number % 5], utc_text(NOON + timedelta(minutes=number))
            connection.execute(
                "INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, sha256, size, logged, "
                "received_at, closed_at) VALUES (?, ?, ?, ?, ?, ?, '', 'f', '', 0, 1, ?, ?)",
                (number, str(number), route, store, number, state, at, at),
            )
            for variant in ("Unmodified", "Modified")[: 2 if state == "done" else 1]:
                connection.execute(
                    "INSERT INTO log_entry (logged_at, message, store, integration, route, kind, variant, name, "
                    "endpoint, file_name, size, sha256) VALUES (?, ?, ?, 'CEGID', ?, ?, ?, 'n', 'e', ?, ?, '')",
                    (at, number, store, route, kind, variant, NAMES[number % 7], number * 37 % 100),
                )


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    connection = Connection(tmp_path_factory.mktemp("journal") / "journal.sqlite")
    fill(connection, 1_000)
    yield connection
    connection.close()


FILTERS = [
    dict(zip(("store", "route", "kind", "variant", "outcome"), chosen, strict=True))
    for chosen in itertools.product(
        (None, "outlet"),
        (None, "stock"),
        (None, "Response"),
        (None, "Modified"),
        (None, "ok", "failed", "held", "unsure"),
    )
]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("chosen", FILTERS)
def test_the_pages_of_a_filter_together_are_what_the_view_holds(connection, chosen, newest_first):
    book, pages = LogBook(connection, Payloads(connection)), Pages(connection)
    expected = [entry.id for entry in book.entries(**chosen, limit=10_000, newest_first=newest_first)]
    found: list[int] = []
    behind = None
    while True:
        page = pages.page(Wanted(**chosen), limit=37, behind=behind, newest_first=newest_first)
        found += [entry.id for entry in page.entries]
        behind = page.go_on
        if behind is None:
            break
    assert found == expected


def test_a_time_is_kept_to_exactly(connection):
    since, until = NOON + timedelta(minutes=10), NOON + timedelta(minutes=12)
    found = Pages(connection).page(Wanted(since=since, until=until), limit=100).entries
    assert {entry.logged_at for entry in found} == {utc_text(since), utc_text(since + timedelta(minutes=1))}


def test_a_time_in_which_nothing_was_is_empty(connection):
    assert not Pages(connection).page(Wanted(since=NOON + timedelta(days=9)), limit=100).entries
    assert not Pages(connection).page(Wanted(until=NOON - timedelta(days=9)), limit=100).entries


def test_only_the_messages_asked_for_are_shown(connection):
    found = Pages(connection).page(Wanted(messages=(3, 700), variant="Unmodified"), limit=100).entries
    assert [entry.message_id for entry in found] == [700, 3]
    assert not Pages(connection).page(Wanted(messages=()), limit=100).entries


def test_a_page_that_runs_out_of_time_says_so_and_where_to_go_on(connection):
    pages = Pages(connection)
    page = pages.page(Wanted(outcome="ok", route="stock"), limit=5_000, go_on=lambda: False)
    assert page.ended_early
    rest = pages.page(Wanted(outcome="ok", route="stock"), limit=5_000, behind=page.go_on)
    assert len(page.entries) + len(rest.entries) == len(
        LogBook(connection, Payloads(connection)).entries(outcome="ok", route="stock", limit=5_000)
    )


def test_routes_are_known_without_reading_every_entry(connection):
    assert Pages(connection).routes() == ["orders", "products", "stock"]


def test_an_empty_log_has_no_routes_and_no_pages(tmp_path: Path):
    connection = Connection(tmp_path / "journal.sqlite")
    assert Pages(connection).routes() == []
    assert Pages(connection).page(Wanted(store="main"), limit=10).entries == []
    connection.close()


KEYS = {"size": lambda entry: (entry.size, entry.id), "name": lambda entry: (entry.file_name.lower(), entry.id)}


@pytest.mark.parametrize("downwards", [True, False])
@pytest.mark.parametrize("by", list(KEYS))
@pytest.mark.parametrize("few", [5_000, 40])
@pytest.mark.parametrize("chosen", [*FILTERS[::3], {"messages": tuple(range(1, 90))}])
def test_the_pages_by_a_column_are_in_its_order_and_whole(connection, monkeypatch, chosen, few, by, downwards):
    monkeypatch.setattr("cegid_daemon.journal.paging.FEW", few)
    monkeypatch.setattr("cegid_daemon.journal.paging._FEW_ASIDE", few)
    monkeypatch.setattr("cegid_daemon.journal.sorting._WALKED", 130)
    pages, wanted = Pages(connection), Wanted(**chosen)
    all_of_them = pages.page(wanted, limit=3_000).entries
    found, behind = [], None
    while True:
        page = pages.page(wanted, limit=97, behind=behind, newest_first=downwards, by=by)
        found += page.entries
        if (behind := page.go_on) is None:
            break
    assert found == sorted(all_of_them, key=KEYS[by], reverse=downwards)


def test_a_sorted_page_looks_at_a_bounded_number_of_entries_and_says_where_to_go_on(connection, monkeypatch):
    monkeypatch.setattr("cegid_daemon.journal.paging.FEW", 40)
    monkeypatch.setattr("cegid_daemon.journal.sorting._WALKED", 100)
    wanted = Wanted(store="nowhere")
    first = Pages(connection).page(wanted, limit=10, by="size", go_on=lambda: False)
    assert (first.entries, first.ended_early) == ([], True)
    assert first.go_on is not None
    assert Pages(connection).page(wanted, limit=10, by="size").go_on is None


@pytest.mark.parametrize(("column", "index"), [("size", "log_entry_size"), ("name", "log_entry_name")])
def test_sorted_pages_go_by_an_index(connection, column, index):
    asked = []
    watched = Sorting(connection, column, True, "(1)", ())
    connection._raw.set_trace_callback(asked.append)
    try:
        next(watched.walk(500))
    finally:
        connection._raw.set_trace_callback(None)
    plan = " / ".join(row["detail"] for row in connection.query(f"EXPLAIN QUERY PLAN {asked[-1]}"))
    assert plan.count(f"SEARCH log_entry USING INDEX {index}") == 2
    assert "SCAN log_entry" not in plan
