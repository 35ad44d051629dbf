"""Housekeeping as a task: what it does shows that it gets on."""

from __future__ import annotations

from datetime import timedelta

from cegid_daemon.clock import Reading, boot_time
from cegid_daemon.housekeeping import Housekeeping
from cegid_daemon.journal.retention_pace import Pass, RetentionPace
from cegid_daemon.model import LogPolicy
from tests.unit.spine import Spine


def test_long_pruning_shows_progress_between_slices(spine: Spine) -> None:
    """Or the watchdog would end the daemon amid it, and at every start again."""
    for number in range(250):
        spine.drop(f"S{number}.csv", b"%d" % number)
    spine.look()
    spine.after(days=40)
    pass_was_made(spine)
    beats: list[int] = []
    policies = {"inventory": LogPolicy(payload_days=30, entry_days=30)}
    house = Housekeeping(
        spine.journal, policies, lambda: spine.now, lambda: False, beat=lambda: beats.append(left(spine))
    )
    house.turn()
    assert left(spine) == 0
    assert {250, 150, 50} <= set(beats)


def pass_was_made(spine: Spine) -> None:
    """Retention has kept up with the clock until now; after a jump it would go on by one day only."""
    RetentionPace(spine.journal.connection).passed(Pass(spine.now, timedelta(0)), Reading(spine.now, boot_time()))


def left(spine: Spine) -> int:
    """Messages whose bytes are still kept."""
    return int(spine.sql("SELECT count(*) FROM message WHERE payload IS NOT NULL")[0][0])
