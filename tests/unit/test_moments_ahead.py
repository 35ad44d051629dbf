"""What a clock that was ahead once wrote down is told as now: nobody reads "since 2029"."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from spine import NOON, Spine

from cegid_daemon.cli.status import _standing
from cegid_daemon.console import rendering
from cegid_daemon.errors import Transient
from cegid_daemon.model import Identity, RetryPolicy, WaitReason, utc_text
from cegid_daemon.trouble import Troubles

LATER = datetime(2029, 1, 1, tzinfo=UTC)


@pytest.fixture
def spine(tmp_path: Path) -> Iterator[Spine]:
    spine = Spine(tmp_path)
    yield spine
    spine.close()


def test_status_tells_of_nothing_that_is_still_to_come(spine: Spine) -> None:
    spine.now = LATER
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"a")
    spine.look()
    spine.journal.waiting_files.see("p", "f", "n", Identity(0), WaitReason.EMPTY, "", LATER)
    spine.journal.notices.report("odd", "thing", "It is odd.", LATER)
    config = type("Configured", (), {"routes": spine.routes})()
    told = _standing(spine.journal, config, NOON)
    assert "2029" not in repr([one.received_at for one in (*told.aside, *told.last.values())])
    assert {one.first_seen for one in told.waiting_files} == {NOON}
    assert {(one.first_at, one.last_at) for one in told.notices} == {(NOON, NOON)}
    assert all((one.failing_since or "") <= utc_text(NOON) for one in told.contacts.values())


def test_a_notice_that_still_holds_begins_now(spine: Spine) -> None:
    spine.journal.notices.report("odd", "thing", "It is odd.", LATER)
    spine.journal.notices.report("odd", "thing", "It is odd.", NOON)
    [notice] = spine.journal.notices.active()
    assert notice.first_at == NOON


def test_the_console_shows_past_moments_at_most_as_now_and_due_ones_as_they_are() -> None:
    page = rendering.environment().from_string("{{ at|moment }} {{ at|due }}")
    text = page.render(at=LATER, now=NOON)
    assert text.index("2026-11-23") < text.index("2029")


def test_the_log_says_since_when_something_fails_by_the_clock_of_now(caplog: pytest.LogCaptureFixture) -> None:
    troubles = Troubles()
    for now in (LATER, NOON, NOON + timedelta(minutes=11)):
        troubles.failed("it", Transient("it fails"), RetryPolicy(), now)
    assert "since 2029" not in caplog.text
    assert "since 2026-11-23 12:00:00" in caplog.text
