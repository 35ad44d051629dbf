"""The vigil tells of order files that CEGID rejected, once each, until they are sent again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cegid_daemon.journal import Journal
from cegid_daemon.model import Fault, Identity, Listed, utc_text
from cegid_daemon.vigil import Vigil

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "journal.sqlite")


def add(journal: Journal, number: int, replay_of: int | None = None) -> None:
    journal.connection.execute(
        "INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, sha256, size, logged, received_at, "
        "replay_of) VALUES (?, ?, 'orders', 'main', ?, 'done', '', 'ORDERS.xml', '', 0, 1, ?, ?)",
        (number, str(number), number, utc_text(NOON), replay_of),
    )


def told(journal: Journal, now: datetime, events: Collection[str] = ("rejected",)) -> list[str]:
    sent: list[str] = []
    Vigil(journal, events, timedelta(0), lambda _title, text: sent.append(text), lambda: now).run()
    return sent


def test_a_rejected_order_file_is_told_once_and_again_only_if_its_replay_is_rejected_too(journal: Journal) -> None:
    with journal.connection.transaction():
        add(journal, 1)
        add(journal, 2)
        journal.answers.look_into("ftp://cegid", "rejects", Listed("CC_1.asc", Identity(3)), 1, NOON)
        journal.answers.look_into("ftp://cegid", "rejects", Listed("foreign.asc", Identity(3)), None, NOON)
        journal.answers.mark(1, Fault("", "CEGID refused CC_1.asc", why="Client inconnu"))
    assert told(journal, NOON, ["failed", "endpoint"]) == []
    (text,) = told(journal, NOON)
    assert text.startswith("Message 1 (orders, 'ORDERS.xml') rejected: ")
    assert "Client inconnu" in text
    assert told(journal, NOON + timedelta(hours=1)) == []
    add(journal, 3, replay_of=1)
    assert told(journal, NOON + timedelta(hours=2)) == []
    journal.answers.look_into("ftp://cegid", "rejects", Listed("CC_3.asc", Identity(3)), 3, NOON)
    assert len(told(journal, NOON + timedelta(hours=3))) == 1
    journal.close()
