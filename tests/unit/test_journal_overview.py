"""What the status reads out of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cegid_daemon.journal import Journal
from cegid_daemon.journal.overview import Overview
from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import Direction, Fault, Identity, Route, SourceSpec, SourceState, State, utc_text

NOW = datetime(2026, 11, 23, 7, 42, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def route(name: str) -> Route:
    return Route(name, name, Direction.IMPORT, "main", SourceSpec("inbox", name), "y2-stock-csv")


def claim(journal: Journal, name: str = "inventory") -> int:
    staged = journal.payloads.stage_bytes([b"x"])
    taking = Taking("inbox", "file:/in", name, f"{name}.csv", Identity(1), staged, None)
    message = journal.claims.claim(taking, [route(name)], {"main": True}, NOW)[0]
    claimed = journal.ledger.message(message)
    assert claimed is not None and claimed.source is not None
    journal.sources.move(claimed.source, SourceState.FILED, "processed", "x")
    return message


def test_counts_name_what_is_open_or_needs_a_person_and_not_what_is_done(journal: Journal) -> None:
    done, _, failed = claim(journal), claim(journal), claim(journal, "orders")
    journal.ledger.close([done], State.DONE, NOW)
    journal.ledger.fail(failed, Fault("BadInput", "broken"), NOW)
    assert Overview(journal.connection).counts() == {"inventory": {"received": 1}, "orders": {"failed": 1}}


def test_a_failed_message_is_no_longer_counted_once_it_is_replayed(journal: Journal) -> None:
    failed = claim(journal)
    journal.ledger.fail(failed, Fault("BadInput", "broken"), NOW)
    overview = Overview(journal.connection)
    assert [message.id for message in overview.aside(10)] == [failed]
    original = journal.ledger.message(failed)
    assert original is not None
    copy = journal.claims.claim_again(
        original, route("inventory"), recipe=None, logged=True, now=NOW, replay_as="today"
    )
    assert overview.aside(10) == []
    journal.ledger.fail(copy, Fault("BadInput", "broken again"), NOW)
    assert [message.id for message in overview.aside(10)] == [copy]


def test_the_last_message_is_the_newest_of_its_route(journal: Journal) -> None:
    claim(journal), claim(journal, "orders")
    newest = claim(journal)
    overview = Overview(journal.connection)
    last = overview.last("inventory")
    assert last is not None
    assert last.id == newest
    assert overview.last("products") is None


def test_sent_since_counts_newer_deliveries_of_the_same_route(journal: Journal) -> None:
    first, second, _ = claim(journal), claim(journal), claim(journal)
    other = claim(journal, "orders")
    journal.ledger.close([first, second, other], State.DONE, NOW)
    original = journal.ledger.message(first)
    assert original is not None
    assert Overview(journal.connection).sent_since(original) == 1


def test_contacts_tell_who_answered_and_since_when_one_does_not(journal: Journal) -> None:
    journal.places.contact("inbox", None, NOW)
    journal.places.contact("outbox", "gone", NOW)
    inbox, outbox = Overview(journal.connection).contacts()
    assert (inbox.endpoint, inbox.ok_at, inbox.failing_since) == ("inbox", "2026-11-23T07:42:00.000000Z", None)
    assert (outbox.failing_since, outbox.error) == ("2026-11-23T07:42:00.000000Z", "gone")


def test_the_oldest_open_message_of_a_route_says_since_when(journal: Journal) -> None:
    overview = Overview(journal.connection)
    assert overview.open_since("inventory") is None
    first, second = claim(journal), claim(journal)
    assert overview.open_since("inventory") == utc_text(NOW)
    journal.ledger.close([first, second], State.DONE, NOW)
    assert overview.open_since("inventory") is None


def test_many_that_wait_never_hide_one_that_failed(journal: Journal) -> None:
    for name in ("a", "b", "c"):
        waiting = journal.ledger.message(claim(journal, name))
        assert waiting is not None
        journal.ledger.wait(waiting, Fault("Transient", "no answer"), now=NOW, next_try_at=NOW)
    failed = claim(journal)
    journal.ledger.fail(failed, Fault("BadInput", "broken"), NOW)
    overview = Overview(journal.connection)
    assert overview.aside(2)[0].id == failed
    assert [message.state for message in overview.aside(2, ("waiting",))] == [State.WAITING, State.WAITING]
