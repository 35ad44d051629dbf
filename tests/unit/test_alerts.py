"""Alerts: what is new is told once, many at a time are one message, and nothing is repeated."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cegid_daemon.alerts import LISTED, Told, due, sender
from cegid_daemon.errors import Transient
from cegid_daemon.journal import Journal
from cegid_daemon.model import utc_text
from cegid_daemon.vigil import Vigil

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUIET = timedelta(minutes=15)


def test_a_trouble_is_told_at_once_and_only_once():
    wrong = {"message 1 failed": "Message 1 failed"}
    first = due(wrong, Told(), QUIET, NOON)
    assert first is not None
    assert "Message 1 failed" in first.text
    assert due(wrong, first.told, QUIET, NOON + timedelta(days=1)) is None


def test_a_storm_is_one_message_and_then_silence_for_a_while():
    wrong = {f"message {number} failed": f"Message {number} failed" for number in range(500)}
    first = due(wrong, Told(), QUIET, NOON)
    assert first is not None
    assert first.text.count("\n") == LISTED
    assert f"and {500 - LISTED} more" in first.text
    wrong["message 501 failed"] = "Message 501 failed"
    assert due(wrong, first.told, QUIET, NOON + timedelta(minutes=14)) is None
    later = due(wrong, first.told, QUIET, NOON + timedelta(minutes=15))
    assert later is not None
    assert later.text == "Message 501 failed"


def test_a_place_that_answers_again_is_told_and_forgotten():
    told = Told(["endpoint cegid"], NOON.isoformat())
    healed = due({}, told, QUIET, NOON + QUIET)
    assert healed is not None
    assert "endpoint cegid answers again" in healed.text
    assert healed.told.subjects == []


def test_what_was_told_survives_a_restart():
    told = Told(["message 1 failed"], NOON.isoformat())
    assert Told.of(told.as_text()) == told
    assert Told.of(None) == Told()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.open(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


class Outbox:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.broken = False

    def __call__(self, title: str, text: str) -> None:
        if self.broken:
            raise Transient("an alert could not be sent", why="no answer", remedy="It is tried again.")
        self.sent.append((title, text))


def add_failed(journal: Journal, number: int, state: str = "failed") -> None:
    fault = json.dumps(
        {"kind": "BadInput", "what": "broken row", "where": "", "why": "", "remedy": "", "text": "broken row"}
    )
    journal.connection.execute(
        "INSERT INTO message (id, uid, route, store, seq, state, folder, file_name, sha256, size, logged, error, "
        "received_at) VALUES (?, ?, 'stock', 'main', ?, ?, '', 'S.csv', '', 0, 1, ?, ?)",
        (number, str(number), number, state, fault, utc_text(NOON)),
    )


def vigil_of(journal: Journal, outbox: Outbox, now: list[datetime], events=("failed", "endpoint")) -> Vigil:  # type: ignore[no-untyped-def]
    return Vigil(journal, events, QUIET, outbox, lambda: now[0])


def test_people_are_told_of_a_failed_message_once_even_across_a_restart(journal):
    outbox, now = Outbox(), [NOON]
    add_failed(journal, 1)
    vigil_of(journal, outbox, now).run()
    now[0] += timedelta(hours=1)
    vigil_of(journal, outbox, now).run()
    assert len(outbox.sent) == 1
    assert "broken row" in outbox.sent[0][1]


def test_states_that_nobody_asked_to_hear_of_are_not_told(journal):
    outbox = Outbox()
    add_failed(journal, 1, "held")
    vigil_of(journal, outbox, [NOON]).run()
    assert outbox.sent == []


def test_an_endpoint_is_told_of_when_it_fails_for_a_while_and_when_it_is_back(journal):
    outbox, now = Outbox(), [NOON]
    journal.places.contact("cegid", "no answer", NOON)
    vigil = vigil_of(journal, outbox, now)
    vigil.run()
    assert outbox.sent == []
    now[0] += timedelta(minutes=3)
    vigil.run()
    assert "cegid" in outbox.sent[0][1]
    journal.places.contact("cegid", None, now[0])
    now[0] += QUIET
    vigil.run()
    assert "answers again" in outbox.sent[1][1]


def test_an_alert_that_cannot_be_sent_is_tried_again_and_then_told(journal):
    outbox, now = Outbox(), [NOON]
    outbox.broken = True
    add_failed(journal, 1)
    vigil = vigil_of(journal, outbox, now)
    assert vigil.run() == NOON + timedelta(minutes=1)
    assert vigil.run() == NOON + timedelta(minutes=2)
    outbox.broken = False
    vigil.run()
    assert len(outbox.sent) == 1


class _Hook(BaseHTTPRequestHandler):
    bodies: list[bytes] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silent."""


def test_a_webhook_gets_the_alert_through_the_real_sender():
    _Hook.bodies.clear()
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        sender([f"json://127.0.0.1:{server.server_port}/hook"], where="testing")("A title", "Something happened")
        thread.join(30)
    told = json.loads(_Hook.bodies[0])
    assert told["title"] == "A title"
    assert "Something happened" in told["message"]


def test_a_sender_that_fails_names_the_kind_of_place_and_no_secret():
    send = sender(["json://user:secret@127.0.0.1:9/x", "nonsense://secret"], where="testing")
    with pytest.raises(Transient) as caught:
        send("t", "x")
    assert "json:" in str(caught.value)
    assert "secret" not in str(caught.value)
