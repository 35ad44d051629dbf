"""Files that cannot be taken yet are remembered, and those taken late are held for a person without blocking others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.journal.sources import Taking
from cegid_daemon.model import Fault, Identity, SourceState, State, WaitReason
from tests.unit.spine import NOON, Spine, route

LATE = Fault("", "OLD.csv was read after newer files went out", remedy="Release or discard it.")


@pytest.fixture
def spine(tmp_path: Path) -> Iterator[Spine]:
    one = Spine(tmp_path)
    yield one
    one.journal.close()


def claim_late(spine: Spine, name: str = "OLD.csv") -> int:
    staged = spine.journal.payloads.stage_bytes([b"late"])
    taking = Taking("inbox", spine.inbox.where, "in", name, Identity(4), staged, None, hold=LATE)
    return spine.journal.claims.claim(taking, [route()], {"main": True}, NOON)[0]


def test_a_file_keeps_when_it_was_first_seen_while_it_waits(spine: Spine) -> None:
    waiting = spine.journal.waiting_files
    first = waiting.see("file:/in", "a", "ä\udce9.csv", Identity(0, 1, 2), WaitReason.EMPTY, "", NOON)
    claim_late(spine)
    again = waiting.see("file:/in", "a", "ä\udce9.csv", Identity(3, 4, 2), WaitReason.OPEN, "x", NOON + timedelta(1))
    assert (again.first_seen, again.after_message) == (first.first_seen, first.after_message) == (NOON, 0)
    assert (again.identity, again.reason, again.detail) == (Identity(3, 4, 2), WaitReason.OPEN, "x")
    assert waiting.of_folder("file:/in", "b") == {}
    waiting.forget("file:/in", "a", ["ä\udce9.csv"])
    assert waiting.all() == []


def test_a_message_held_at_its_claim_lets_those_behind_it_pass_and_is_reported(spine: Spine) -> None:
    message = claim_late(spine)
    spine.drop("NEW.csv", b"new")
    passed = spine.look()
    assert passed.delivered == 1
    assert [one.id for one, _ in passed.held.values()] == [message]
    assert spine.journal.ledger.delivered_after(["inventory"], message) == 1
    held = spine.journal.ledger.message(message)
    assert held is not None
    assert (held.state, held.fault) == (State.HELD, LATE)


def test_the_name_of_a_file_held_at_its_claim_is_free_for_the_next(spine: Spine) -> None:
    spine.drop("OLD.csv", b"late")
    (listed,) = (one for one in spine.inbox.list("in") if one.name == "OLD.csv")
    staged = spine.journal.payloads.stage_bytes([b"late"])
    taking = Taking("inbox", spine.inbox.where, "in", "OLD.csv", listed.identity, staged, None, hold=LATE)
    message = spine.journal.claims.claim(taking, [route()], {"main": True}, NOON)[0]
    spine.look()
    source = spine.journal.ledger.message(message)
    assert source is not None and source.source is not None
    assert spine.journal.sources.one(source.source).state is SourceState.FILED
    spine.drop("OLD.csv", b"newer")
    assert spine.look().delivered == 1


def test_a_released_message_goes_out(spine: Spine) -> None:
    message = claim_late(spine)
    spine.look()
    spine.desk().release(message)
    assert spine.look().delivered == 1
    released = spine.journal.ledger.message(message)
    assert released is not None
    assert released.state is State.DONE
