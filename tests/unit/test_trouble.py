"""Failures in a row: one line when it begins, few while it lasts, one when it heals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cegid_daemon.errors import Transient
from cegid_daemon.model import RetryPolicy
from cegid_daemon.trouble import Troubles

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY = RetryPolicy(timedelta(seconds=5), timedelta(seconds=20))


def test_pauses_double_up_to_the_longest_and_begin_anew_after_success() -> None:
    troubles = Troubles()
    pauses = [troubles.failed("a", Transient("x"), POLICY, NOON) - NOON for _ in range(4)]
    assert [pause.total_seconds() for pause in pauses] == [5, 10, 20, 20]
    assert not troubles.due("a", NOON)
    assert troubles.due("a", NOON + timedelta(seconds=20))
    assert troubles.due("b", NOON)
    troubles.worked("a")
    assert troubles.failed("a", Transient("x"), POLICY, NOON) == NOON + timedelta(seconds=5)


def test_a_lasting_trouble_is_told_again_when_it_changes_or_every_ten_minutes(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for minute in range(25):
        text = "full" if minute < 5 else "read-only"
        troubles.failed("a", Transient(text), POLICY, NOON + timedelta(minutes=minute))
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["full", *["read-only"] * 2]
    assert troubles.current() == {"a": "read-only"}
    troubles.worked("a")
    assert "recovered after 25 failed tries" in caplog.messages[-1]
    troubles.worked("a")
    assert len(caplog.messages) == 4


def test_a_forgotten_subject_is_no_trouble_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    troubles.failed("a", Transient("x"), POLICY, NOON)
    caplog.clear()
    troubles.forget("a")
    troubles.forget("a")
    assert (troubles.current(), caplog.messages) == ({}, [])
