"""What a receiver refused of a message that arrived: its outcome, and who is told until it is sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cegid_daemon.endpoints.folder import FolderEndpoint
from cegid_daemon.journal import Journal
from cegid_daemon.journal.log import LogBook
from cegid_daemon.journal.overview import Overview
from cegid_daemon.journal.paging import Pages, Wanted
from cegid_daemon.journal.rows import Delivery
from cegid_daemon.model import DeliveryState, Direction, Fault, RejectsSpec, Route, SourceSpec, State, utc_text
from cegid_daemon.pipeline.contacts import Contacts
from cegid_daemon.rejects import Rejects
from cegid_daemon.trouble import Troubles
from cegid_daemon.vigil import Vigil

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def add(journal: Journal, number: int, parts: int = 1, state: State = State.DONE, replay_of: int | None = None) -> None:
    """A message with as many delivered parts, and its entries."""
    run = journal.connection.execute
    run(
        "INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, sha256, size, logged, received_at, "
        "replay_of) VALUES (?, ?, 'stock', 'main', ?, ?, '', 'STOCK.csv', '', 0, 1, ?, ?)",
        (number, str(number), number, state, utc_text(NOON), replay_of),
    )
    log = (
        "INSERT INTO log_entry (logged_at, message, part, delivery, store, integration, route, kind, variant, name, "
        "endpoint, file_name, size, sha256) "
        "VALUES ('', ?, ?, ?, 'main', 'CEGID', 'stock', 'Request', ?, '', '', '', 0, '')"
    )
    run(log, (number, None, None, "Unmodified"))
    for no in range(1, parts + 1):
        part = run(
            "INSERT INTO part (message, no, sha256, size, records) VALUES (?, ?, '', 0, 2)", (number, no)
        ).lastrowid
        delivery = run(
            "INSERT INTO delivery (part, message, endpoint, place, folder, name, temporary, request_uid, state, "
            "delivered_at) VALUES (?, ?, 'api', '', '', ?, '', '', 'delivered', ?)",
            (part, number, f"{no}.xml", utc_text(NOON)),
        ).lastrowid
        run(log, (number, part, delivery, "Modified"))


def deliveries(journal: Journal, message: int) -> list[Delivery]:
    return journal.outgoing.of_message(message)


def outcomes(journal: Journal, message: int) -> list[str]:
    return [one.outcome for one in LogBook(journal.connection, journal.payloads).of_message(message)]


def told(journal: Journal, events: Collection[str]) -> str:
    sent: list[str] = [""]
    now = NOON + timedelta(hours=1)
    Vigil(journal, events, timedelta(0), lambda _title, text: sent.append(text), lambda: now).run()
    return sent[-1]


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ({0: 1}, ["partly refused", "partly refused", "ok"]),
        ({0: 2}, ["partly refused", "refused", "ok"]),
        ({0: 2, 1: 1}, ["partly refused", "refused", "partly refused"]),
        ({0: 2, 1: 2}, ["refused", "refused", "refused"]),
    ],
)
def test_the_outcome_tells_part_from_whole(journal: Journal, refused: dict[int, int], expected: list[str]) -> None:
    add(journal, 1, parts=2)
    for which, count in refused.items():
        journal.answers.refuse(deliveries(journal, 1)[which], 2, count)
    assert outcomes(journal, 1) == expected


def test_a_report_adds_to_what_the_first_answer_refused(journal: Journal) -> None:
    add(journal, 1)
    journal.answers.refuse(deliveries(journal, 1)[0], 3, 1)
    assert outcomes(journal, 1)[0] == "partly refused"
    journal.answers.refuse(deliveries(journal, 1)[0], 3, 2)
    assert outcomes(journal, 1)[0] == "refused"


def test_a_part_that_was_never_sent_makes_no_refusal_partial(journal: Journal) -> None:
    add(journal, 1, parts=2, state=State.FAILED)
    first, second = deliveries(journal, 1)
    journal.answers.refuse(first, 2, 2)
    assert outcomes(journal, 1)[0] == "failed"
    journal.outgoing.set_state([second.id], DeliveryState.CANCELLED, NOON)
    journal.answers.sum_up_refusals(1)
    assert outcomes(journal, 1) == ["refused", "refused", "failed"]


def rejects_of(journal: Journal, folder: Path) -> Rejects:
    (folder / "in").mkdir(parents=True)
    spec = RejectsSpec("outbox", "in", settle=timedelta(0))
    route = Route("stock", "Orders", Direction.EXPORT, "main", SourceSpec("inbox"), "layout")
    place = FolderEndpoint(str(folder))
    return Rejects(route, spec, place, journal, Contacts(journal), Troubles(), lambda: datetime.now(UTC))


@pytest.mark.parametrize("name", ["1.xml", "2.xml"], ids=["name", "content"])
@pytest.mark.parametrize("state", [DeliveryState.SENDING, DeliveryState.UPLOADED])
def test_what_is_rejected_before_its_delivery_is_written_down_is_tied_to_it_later(
    journal: Journal, tmp_path: Path, state: DeliveryState, name: str
) -> None:
    add(journal, 1)
    (delivery,) = deliveries(journal, 1)
    journal.connection.execute("UPDATE part SET sha256 = ?", (hashlib.sha256(b"order").hexdigest(),))
    journal.outgoing.set_state([delivery.id], state, NOON)
    rejects = rejects_of(journal, tmp_path / "cegid")
    (tmp_path / "cegid/in" / name).write_bytes(b"order")
    assert rejects.look().refused == []
    journal.outgoing.set_state([delivery.id], DeliveryState.DELIVERED, NOON)
    assert [message.id for message, _ in rejects.look().refused] == [1]


def test_when_it_arrived_stays_known(journal: Journal) -> None:
    add(journal, 1)
    journal.outgoing.set_state([deliveries(journal, 1)[0].id], DeliveryState.REFUSED, NOON + timedelta(days=1))
    known = journal.log.message(1)
    assert known is not None
    assert known["deliveries"][0]["delivered_at"] == utc_text(NOON)


def test_it_counts_is_listed_and_told_until_a_replay_of_it_exists(journal: Journal) -> None:
    for number, count in ((1, 1), (2, 2)):
        add(journal, number)
        journal.answers.refuse(deliveries(journal, number)[0], 2, count)
        journal.answers.mark(number, Fault("", f"the API refused {count} of 2 requests", why="unknown SKU"))
    add(journal, 3)
    overview = Overview(journal.connection)
    assert overview.counts() == {"stock": {"partly refused": 1, "refused": 1}}
    assert [(one.id, one.standing) for one in overview.aside(10)] == [(1, "partly refused"), (2, "refused")]
    assert [one.id for one in overview.aside(10, ("refused",))] == [2]
    assert told(journal, ["failed", "rejected"]) == ""
    text = told(journal, ["refused"])
    assert "Message 1 (stock, 'STOCK.csv') partly refused: the API refused 1 of 2 requests: unknown SKU" in text
    assert "Message 2 (stock, 'STOCK.csv') refused: " in text
    add(journal, 4, replay_of=1)
    add(journal, 5, replay_of=2)
    assert overview.counts() == {}
    assert overview.aside(10) == []


def test_all_refused_is_told_as_a_failure_where_only_failures_are_asked_for(journal: Journal) -> None:
    add(journal, 1, state=State.FAILED)
    journal.answers.refuse(deliveries(journal, 1)[0], 2, 2)
    assert Overview(journal.connection).counts() == {"stock": {"refused": 1}}
    assert "Message 1 (stock, 'STOCK.csv') failed" in told(journal, ["failed"])


@pytest.mark.parametrize(("outcome", "found"), [("partly refused", [1]), ("refused", [2]), ("ok", [3]), ("failed", [])])
def test_the_log_is_filtered_by_it(journal: Journal, outcome: str, found: list[int]) -> None:
    for number, count in ((1, 1), (2, 2)):
        add(journal, number)
        journal.answers.refuse(deliveries(journal, number)[0], 2, count)
    add(journal, 3)
    page = Pages(journal.connection).page(Wanted(outcome=outcome), limit=10)
    assert sorted({entry.message_id for entry in page.entries}) == found
    listed = journal.log.entries(outcome=outcome)
    assert sorted({entry.message_id for entry in listed}) == found


def test_closing_keeps_what_was_refused_and_forgets_what_is_over(journal: Journal) -> None:
    for number in (1, 2):
        add(journal, number, state=State.DELIVERED)
        journal.answers.mark(number, Fault("", "something"))
    journal.answers.refuse(deliveries(journal, 1)[0], 2, 1)
    journal.ledger.close([1, 2], State.DONE, NOON)
    faults = [message.fault for number in (1, 2) if (message := journal.ledger.message(number)) is not None]
    assert [fault is not None for fault in faults] == [True, False]
