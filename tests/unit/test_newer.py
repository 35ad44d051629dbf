"""What is sent late says how many newer messages of its route went out before it."""

from __future__ import annotations

import pytest

from cegid_daemon.journal.overview import Overview
from tests.unit.spine import Spine


def drop(spine: Spine, *names: str, body: bytes = b"x") -> None:
    for name in names:
        spine.drop(f"{name}.csv", body)
        spine.look()


def since(spine: Spine, message: int) -> int:
    found = spine.journal.ledger.message(message)
    assert found is not None
    return Overview(spine.journal.connection).sent_since(found)


def told(spine: Spine, message: int) -> int:
    known = spine.journal.log.message(message)
    assert known is not None
    return int(known["newer_sent"])


def test_a_failed_message_and_its_replay_say_how_many_newer_ones_went_out(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    drop(spine, "a", body=b"BAD")
    assert (since(spine, 1), told(spine, 1)) == (0, 0)
    drop(spine, "b", "c")
    drop(spine, "d", body=b"BAD")
    assert (since(spine, 1), told(spine, 1)) == (2, 2), "one that failed is not newer stock"
    assert (since(spine, 2), told(spine, 2)) == (1, 0), "it went out in order"
    spine.workshop.rewrite = lambda orders: [spine.workshop._one(_good(order)) for order in orders]  # type: ignore[method-assign]
    copy = spine.desk().replay(1)
    spine.look()
    drop(spine, "e")
    assert (since(spine, copy), told(spine, copy)) == (3, 2)
    assert f"message {copy}: a.csv went out after 2 newer message(s) of route inventory" in caplog.text


def _good(order):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(order, raw=b"good")


def test_a_replay_of_a_replay_is_as_old_as_the_first(spine: Spine) -> None:
    drop(spine, "a", "b")
    first = spine.desk().replay(1)
    spine.look()
    second = spine.desk().replay(first)
    spine.look()
    drop(spine, "c")
    assert told(spine, second) == 1
    assert since(spine, second) == 2
    assert since(spine, 1) == 2, "replays of the same are not newer than it"


def test_nothing_to_send_is_nothing_newer(spine: Spine) -> None:
    drop(spine, "a")
    drop(spine, "b", body=b"NONE")
    assert since(spine, 1) == 0


def test_what_goes_out_in_order_says_nothing(spine: Spine, caplog: pytest.LogCaptureFixture) -> None:
    drop(spine, "a", "b", "c")
    assert [told(spine, message) for message in (1, 2, 3)] == [0, 0, 0]
    assert "newer" not in caplog.text
