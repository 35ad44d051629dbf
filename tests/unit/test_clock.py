"""Clocks that jump: nothing waits for years, is given up or removed at once, no order is left out, and it is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cegid_daemon.alerts import Told, due
from cegid_daemon.clock import BootTime, JumpDetector, Reading, age, boot_time, duration_text, is_due, is_within
from cegid_daemon.clock_watch import ClockWatch
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import Transient
from cegid_daemon.housekeeping import Housekeeping
from cegid_daemon.journal.retention_pace import Pass, RetentionPace
from cegid_daemon.model import Identity, Listed, LogPolicy, RetryPolicy, SourceSpec
from cegid_daemon.pipeline.answering import ReportPending
from cegid_daemon.pipeline.following import Following
from cegid_daemon.poller import Poll
from cegid_daemon.rewrite.recipe import Layout, Recipe, Templates
from cegid_daemon.sites.admission import Attempts
from cegid_daemon.timing import Settling
from cegid_daemon.trouble import Troubles
from tests.unit.spine import NOON, Spine, route

LATER = datetime(2029, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(1995, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass
class Clocks:
    """A wall clock that can be set, and the boot clock of one start of a machine."""

    wall: datetime = NOON
    boot: str = "first"
    seconds: float = 100.0

    def __call__(self) -> datetime:
        return self.wall

    def boot_clock(self) -> BootTime:
        return BootTime(self.boot, self.seconds)

    def reading(self) -> Reading:
        return Reading(self.wall, self.boot_clock())

    def run(self, span: timedelta) -> None:
        """Time passes."""
        self.wall += span
        self.seconds += span.total_seconds()

    def set(self, wall: datetime) -> None:
        """Somebody sets the wall clock."""
        self.wall = wall

    def restart(self, wall: datetime) -> None:
        """The machine is started again."""
        self.boot, self.seconds, self.wall = self.boot + "'", 5.0, wall


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def waiting(spine: Spine) -> None:
    """A message waits, as its target is not there."""
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"one")
    spine.look()
    assert spine.states() == ["waiting"]


# -- what may be concluded from a moment ---------------------------------------------------------------------------


def test_a_moment_later_than_now_counts_as_now() -> None:
    assert age(NOON - HOUR, NOON) == HOUR
    assert age(LATER, NOON) == timedelta(0)
    assert is_within(NOON, MINUTE, NOON)
    assert not is_within(NOON - MINUTE, MINUTE, NOON)
    assert not is_within(LATER, MINUTE, NOON)
    assert [is_due(NOON + span, NOON, HOUR) for span in (-MINUTE, MINUTE, HOUR, HOUR + MINUTE)] == [
        True, False, False, True,
    ]  # fmt: skip


def test_the_boot_clock_of_this_machine_counts_on_within_one_boot() -> None:
    first, second = boot_time(), boot_time()
    assert first.boot == second.boot != ""
    assert 0 <= second.seconds - first.seconds < 60


def test_the_boot_clock_tells_a_jump_and_the_time_that_passed(clocks: Clocks) -> None:
    before = clocks.reading()
    clocks.run(HOUR)
    assert before.jump_until(clocks.reading()) == timedelta(0)
    clocks.set(clocks.wall - 3 * HOUR)
    assert before.jump_until(clocks.reading()) == -3 * HOUR
    assert before.passed_until(clocks.reading()) == HOUR
    clocks.set(LATER)
    assert before.jump_until(clocks.reading()) == LATER - NOON - HOUR
    assert before.passed_until(clocks.reading()) == LATER - NOON, "or the machine stood still: nobody can tell"
    clocks.restart(NOON - DAY)
    assert before.jump_until(clocks.reading()) == timedelta(0)
    assert before.passed_until(clocks.reading()) == timedelta(0)


# -- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [MINUTE, HOUR, timedelta(hours=5), timedelta(days=800)])
def test_a_message_that_waits_is_tried_in_time_when_the_clock_is_set_back(spine: Spine, back: timedelta) -> None:
    waiting(spine)
    spine.outbox.make_folder("out")
    spine.now -= back
    spine.after(minutes=15)
    assert spine.look().delivered == 1


def test_a_time_of_the_next_try_that_no_pause_explains_is_over(spine: Spine) -> None:
    waiting(spine)
    spine.outbox.make_folder("out")
    spine.journal.connection.execute("UPDATE message SET wait_began_at = NULL, next_try_at = '2029-01-01T00:00:00Z'")
    assert spine.look().delivered == 1


def test_a_first_failure_long_ago_does_not_give_up_what_was_hardly_tried(spine: Spine) -> None:
    waiting(spine)
    spine.journal.connection.execute("UPDATE message SET first_failed_at = '1995-01-01T00:00:00.000000Z'")
    for _ in range(10):
        spine.after(hours=1)
        spine.look()
    assert spine.states() == ["waiting"]
    for _ in range(60):
        spine.after(hours=1)
        spine.look()
    assert spine.states() == ["failed"]


def test_a_first_failure_in_the_future_counts_as_now_from_then_on(spine: Spine) -> None:
    waiting(spine)
    spine.journal.connection.execute("UPDATE message SET first_failed_at = '2029-01-01T00:00:00.000000Z'")
    spine.after(minutes=1)
    spine.look()
    assert spine.sql("SELECT first_failed_at FROM message") == [("2026-11-23T12:01:00.000000Z",)]


def test_a_clock_set_ahead_for_a_moment_gives_nothing_up(spine: Spine) -> None:
    waiting(spine)
    spine.now = LATER
    spine.look()
    spine.now = NOON + MINUTE
    spine.look()
    spine.outbox.make_folder("out")
    spine.after(minutes=1)
    assert spine.look().delivered == 1


@pytest.mark.parametrize(
    ("retry", "least"),
    [
        (RetryPolicy(), 55),
        (RetryPolicy(timedelta(seconds=5), timedelta(seconds=20), MINUTE), 3),
        (RetryPolicy(timedelta(seconds=1), timedelta(seconds=1), timedelta(seconds=3)), 2),
        (RetryPolicy(give_up=timedelta(0)), 0),
        (RetryPolicy(timedelta(0), timedelta(0), timedelta(seconds=10)), 5),
    ],
)
def test_how_many_tries_a_message_is_worth_follows_from_its_pauses(retry: RetryPolicy, least: int) -> None:
    enough = [tries for tries in range(200) if retry.has_tried_enough(tries)]
    assert enough == list(range(least, 200))


def test_long_pauses_that_a_server_asked_for_count_for_many_tries() -> None:
    assert not RetryPolicy().has_tried_enough(1, asked=timedelta(hours=6))
    assert RetryPolicy().has_tried_enough(2, asked=timedelta(hours=6))


def test_a_server_cannot_put_a_message_off_for_longer_than_six_hours(spine: Spine) -> None:
    spine.drop("a.csv", b"one")
    put = spine.outbox.put

    def refuse(*_: object, **__: object) -> None:
        raise Transient("busy").not_before(timedelta(days=400))

    spine.outbox.put = refuse
    spine.look()
    spine.outbox.put = put
    spine.after(hours=5, minutes=59)
    assert spine.look().delivered == 0
    spine.after(minutes=2)
    assert spine.look().delivered == 1


# -- what is remembered of places ----------------------------------------------------------------------------------


def test_a_place_that_fails_is_tried_and_told_of_when_the_clock_is_set_back(caplog: pytest.LogCaptureFixture) -> None:
    troubles, policy = Troubles(), RetryPolicy()
    troubles.failed("place", Transient("no answer"), policy, LATER)
    assert not troubles.due("place", LATER)
    assert troubles.due("place", NOON)
    troubles.failed("place", Transient("no answer"), policy, NOON)
    assert "still failing" in caplog.text
    assert not troubles.due("place", NOON)


def test_contacts_are_written_again_when_the_clock_is_set_back(spine: Spine) -> None:
    contacts = spine.pipeline.contacts
    contacts.failed("outbox", "down", LATER)
    contacts.failed("outbox", "down", NOON)
    assert spine.sql("SELECT failing_since FROM contact WHERE endpoint = 'outbox'") == [
        ("2026-11-23T12:00:00.000000Z",)
    ]


def test_leftovers_in_targets_are_cleared_when_the_clock_is_set_back(spine: Spine) -> None:
    cleared: list[object] = []
    spine.pipeline.clear_target = cleared.append  # type: ignore[method-assign]
    for spine.now in (LATER, NOON, NOON + MINUTE):
        spine.look()
    assert len(cleared) == 2


def test_an_alert_goes_out_although_the_last_one_lies_ahead() -> None:
    told = Told([], LATER.isoformat())
    assert due({"message 1 failed": "…"}, told, timedelta(minutes=15), NOON) is not None
    assert due({"message 1 failed": "…"}, Told([], NOON.isoformat()), timedelta(minutes=15), NOON) is None


def test_an_address_is_kept_out_no_longer_than_the_lockout_when_the_clock_is_set_back() -> None:
    attempts = Attempts(2, 10 * MINUTE)
    attempts.failed("a", LATER)
    attempts.failed("a", LATER)
    assert attempts.kept_out("a", NOON)
    assert not attempts.kept_out("a", NOON + 10 * MINUTE)


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_file_is_not_whole_because_the_clock_jumped() -> None:
    settling = Settling(SourceSpec("inbox", settle=10 * MINUTE), remote=False)
    jumps = JumpDetector((clocks := Clocks()).boot_clock)
    written = int(NOON.timestamp() * 1e9)
    file = Listed("a.csv", Identity(5, written, 1, written))

    def ready() -> int:
        if jumps.has_jumped(clocks()):
            settling.restart(clocks())
        return len(settling.look([file], clocks()).ready)

    assert ready() == 0
    clocks.run(timedelta(seconds=2))
    clocks.set(LATER)
    assert ready() == 0
    clocks.run(9 * MINUTE)
    assert ready() == 0
    clocks.run(MINUTE)
    assert ready() == 1


# -- polls ---------------------------------------------------------------------------------------------------------

REQUEST = "<E><Requests><Request><Order><Get>{{ interval }}</Get></Order></Request></Requests></E>"
EMPTY = b"<E><Header><Summary><Ack>Success</Ack></Summary></Header><Responses/></E>"


class Api:
    """Answers every request with nothing, and remembers the interval."""

    where = "https://api.example"
    abilities = Abilities(posts=True, remote=True)

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextmanager
    def post(self, method: str, body: Any, size: int, request_uid: str) -> Iterator[Any]:
        self.asked.append(b"".join(body).partition(b"<Get>")[2].partition(b"</Get>")[0].decode())
        yield SimpleNamespace(status=200, retry_after=None, body=[EMPTY])


class Polled:
    """A poll each minute, overlapping by 15 minutes."""

    def __init__(self, spine: Spine, clocks: Clocks, tmp_path: Path) -> None:
        orders = route("orders", source_endpoint="api", source_request="a.xml.j2", source_poll=MINUTE)
        self.api = Api()
        layout = Layout("orders", "xml", record="Order")
        self.poll = Poll(
            [orders], spine.stores, self.api, Templates("a.xml.j2", {"a.xml.j2": REQUEST}),  # type: ignore[arg-type]
            Recipe(layout, None), spine.journal, spine.pipeline, spine.troubles, tmp_path, clocks, lambda: False,
            clocks.boot_clock,
        )  # fmt: skip

    def asked(self) -> list[str]:
        """Looks; what was asked for."""
        before = len(self.api.asked)
        passed = self.poll.look()
        assert passed.faults == []
        return self.api.asked[before:]


@pytest.fixture
def polled(spine: Spine, clocks: Clocks, tmp_path: Path) -> Polled:
    return Polled(spine, clocks, tmp_path)


def test_polls_are_made_in_time(polled: Polled, clocks: Clocks) -> None:
    assert polled.asked() == ["P1D"]
    clocks.run(timedelta(seconds=30))
    assert polled.asked() == []
    clocks.run(timedelta(seconds=30))
    assert polled.asked() == ["PT16M"]


@pytest.mark.parametrize("back", [timedelta(seconds=10), HOUR, timedelta(days=800)])
def test_a_poll_is_made_in_time_and_covers_all_when_the_clock_is_set_back(
    back: timedelta, polled: Polled, clocks: Clocks
) -> None:
    polled.asked()
    clocks.run(timedelta(seconds=20))
    clocks.set(clocks.wall - back)
    assert polled.asked() == []
    clocks.run(timedelta(hours=2))
    assert polled.asked() == ["PT2H15M20S"]
    clocks.run(MINUTE)
    assert polled.asked() == ["PT16M"]


def test_a_poll_after_a_restart_with_a_clock_set_back_asks_from_the_last_that_is_known(
    polled: Polled, clocks: Clocks
) -> None:
    """The clock was right, then ahead for a while, then the machine was restarted with the right one."""
    polled.asked()
    clocks.run(MINUTE)
    polled.asked()
    clocks.run(MINUTE)
    clocks.set(LATER)
    polled.asked()
    clocks.run(MINUTE)
    polled.asked()
    clocks.restart(NOON + 3 * HOUR)
    assert polled.asked() == ["PT3H14M"], "back to the minute before the clock was set ahead, and the overlap"


def test_a_poll_of_which_nothing_is_known_asks_as_far_back_as_the_first(polled: Polled, clocks: Clocks) -> None:
    clocks.set(LATER)
    polled.asked()
    clocks.restart(NOON)
    assert polled.asked() == ["P1D"]
    clocks.run(MINUTE)
    assert polled.asked() == ["PT16M"]


def test_a_clock_that_was_behind_at_a_start_leaves_no_gap_when_it_is_set_right(polled: Polled, clocks: Clocks) -> None:
    polled.asked()
    clocks.restart(LONG_AGO)
    polled.asked()
    clocks.run(MINUTE)
    polled.asked()
    clocks.set(NOON + 5 * DAY)
    clocks.run(MINUTE)
    assert polled.asked() == ["P5DT16M"]


# -- reports -------------------------------------------------------------------------------------------------------


def test_a_report_is_asked_for_in_time_and_given_up_by_tries_as_well(spine: Spine) -> None:
    spine.drop("a.csv", b"one")
    spine.look()
    [delivery] = spine.journal.outgoing.of_message(1)
    answers = spine.journal.answers
    asked: list[object] = []
    following = Following(spine.journal, {}, {}, {}, {}, lambda: None)

    def ask(*args: object) -> None:
        asked.append(args)
        raise ReportPending("not there yet")

    following._ask = ask  # type: ignore[method-assign]
    answers.owe(delivery, ["R1"], LATER, LATER + 10 * MINUTE)
    one = next(iter(spine.routes.values()))
    following.follow(one, NOON, patient=True)
    following.follow(one, NOON, patient=True)
    assert len(asked) == 1
    [owed] = answers.owed("inventory", None)
    assert (owed.since, owed.tries) == (NOON, 1)
    following.follow(one, LATER, patient=True)
    assert len(answers.owed("inventory", None)) == 1, "given up after two tries"
    now = LATER
    for _ in range(40):
        now += HOUR
        following.follow(one, now, patient=True)
    assert answers.owed("inventory", None) == []


# -- retention -----------------------------------------------------------------------------------------------------

POLICIES = {"inventory": LogPolicy(payload_days=30, entry_days=30)}


def keep_house(spine: Spine, clocks: Clocks) -> None:
    house = Housekeeping(spine.journal, POLICIES, clocks, lambda: False, boot_clock=clocks.boot_clock)
    house.turn()


def days_of_messages(spine: Spine, clocks: Clocks, days: int) -> None:
    """One message a day, and a pass of the retention after each."""
    for day in range(days):
        spine.now = clocks.wall
        spine.drop(f"{day:02}.csv", b"%d" % day)
        spine.look()
        keep_house(spine, clocks)
        clocks.run(DAY)


def kept(spine: Spine) -> tuple[int, int]:
    """Messages with bytes, entries of the log."""
    [row] = spine.sql(
        "SELECT (SELECT count(*) FROM message WHERE payload IS NOT NULL), (SELECT count(*) FROM log_entry)"
    )
    return row[0], row[1]


def test_a_clock_ahead_for_eight_seconds_costs_one_day_of_the_log_at_most(
    spine: Spine, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    days_of_messages(spine, clocks, 10)
    right = clocks.wall
    clocks.set(LATER)
    for _ in range(8):
        clocks.run(timedelta(seconds=1))
        keep_house(spine, clocks)  # as if the daemon were started again each second
    assert kept(spine) == (10, 20)
    assert [one.kind for one in spine.journal.notices.active()] == ["clock", "retention"]
    assert "timedatectl" in caplog.text
    clocks.set(right)
    clocks.run(HOUR)
    keep_house(spine, clocks)
    assert kept(spine) == (10, 20)
    assert [one.kind for one in spine.journal.notices.active()] == ["clock"]


def test_after_a_long_absence_the_log_is_pruned_by_one_day_a_pass(spine: Spine, clocks: Clocks) -> None:
    days_of_messages(spine, clocks, 10)
    clocks.restart(clocks.wall + 29 * DAY)
    left = []
    for _ in range(12):
        keep_house(spine, clocks)
        left.append(kept(spine)[0])
        clocks.run(timedelta(hours=6))
    assert left[0] == 10
    assert all(0 <= before - after <= 1 for before, after in pairwise(left))


def test_once_a_minute_by_a_timer_is_no_way_around(spine: Spine, clocks: Clocks) -> None:
    days_of_messages(spine, clocks, 10)
    clocks.set(LATER)
    pace = RetentionPace(spine.journal.connection)
    passes = []
    for _ in range(60):
        if one := pace.next_pass(clocks.reading()):
            passes.append(one)
            pace.passed(one, clocks.reading())
        clocks.run(MINUTE)
    assert len(passes) <= 1


def test_a_journal_of_an_earlier_version_is_paced_by_its_newest_entry(spine: Spine, clocks: Clocks) -> None:
    spine.drop("a.csv", b"one")
    spine.look()
    clocks.set(LATER)
    assert RetentionPace(spine.journal.connection).next_pass(clocks.reading()) == Pass(NOON + DAY, LATER - NOON - DAY)


def test_entries_stamped_long_ago_by_a_clock_that_was_behind_are_kept_with_their_neighbours(spine: Spine) -> None:
    """A machine without a battery starts in 1995 until it hears the time."""
    for number, now in enumerate([NOON - DAY, LONG_AGO, NOON - HOUR]):
        spine.now = now
        spine.drop(f"{number}.csv", b"%d" % number)
        spine.look()
    report = spine.journal.retention.prune(NOON, POLICIES)
    assert (report.entries, report.messages) == (0, 0)
    report = spine.journal.retention.prune(NOON + 40 * DAY, POLICIES)
    assert (report.entries, report.messages) == (6, 3)


# -- the watch -----------------------------------------------------------------------------------------------------


def notices(spine: Spine) -> list[str]:
    return [f"{one.kind} {one.subject}: {one.text}" for one in spine.journal.notices.active()]


def test_a_jump_is_reported_once(spine: Spine, clocks: Clocks, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "cegid_daemon.clock_watch")
    watch = ClockWatch(spine.journal, clocks, clocks.boot_clock)
    for _ in range(5):
        watch.check()
        clocks.run(timedelta(seconds=2))
    assert notices(spine) == []
    clocks.set(clocks.wall - 3 * HOUR)
    for _ in range(200):
        watch.check()
        clocks.run(timedelta(seconds=2))
    assert len(caplog.records) == 1
    [text] = notices(spine)
    assert text.startswith("clock jump: the clock jumped back by 3:00:00, from 2026-11-23 12:00:08 UTC to ")
    clocks.run(2 * DAY)
    watch.check()
    assert notices(spine) == [], "it is no news any more"


def test_a_jump_between_two_starts_of_the_daemon_is_found(spine: Spine, clocks: Clocks) -> None:
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    clocks.run(HOUR)
    clocks.set(LATER)
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    assert "jumped forward by " in notices(spine)[0]


def test_a_machine_that_starts_behind_what_was_seen_before_is_reported(spine: Spine, clocks: Clocks) -> None:
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    clocks.restart(LONG_AGO)
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    assert notices(spine)[0].startswith("clock ahead: ") or "before the machine was restarted" in notices(spine)[0]


def test_a_machine_that_was_off_for_a_while_is_nothing_to_report(spine: Spine, clocks: Clocks) -> None:
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    clocks.restart(NOON + 20 * DAY)
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    assert notices(spine) == []


def test_stored_times_ahead_of_the_clock_are_reported(spine: Spine, clocks: Clocks) -> None:
    waiting(spine)
    spine.journal.connection.execute("UPDATE message SET first_failed_at = '2029-01-01T00:00:00.000000Z'")
    ClockWatch(spine.journal, clocks, clocks.boot_clock).check()
    [text] = notices(spine)
    assert "times up to 2029-01-01 00:00:00 UTC" in text
    assert "count as now" in text


@pytest.mark.parametrize(
    ("span", "text"),
    [(timedelta(minutes=10), "10m"), (timedelta(days=1), "24h"), (timedelta(seconds=90), "90s"),
     (timedelta(milliseconds=1500), "1.5s"), (timedelta(0), "0s")],
)  # fmt: skip
def test_a_duration_is_written_as_in_the_configuration(span: timedelta, text: str) -> None:
    assert duration_text(span) == text
