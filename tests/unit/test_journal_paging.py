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
from cegid_daemon.model import utc_text

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROUTES = {"stock": ("main", "Request"), "orders": ("main", "Response"), "products": ("outlet", "Request")}
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
                    "endpoint, file_name, size, sha256) VALUES (?, ?, ?, 'CEGID', ?, ?, ?, 'n', 'e', 'f', 0, '')",
                    (at, number, store, route, kind, variant),
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
