"""A rewriting that the end of the daemon cuts off is made again by itself, and its file is not to blame at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from cegid_daemon.errors import Transient
from cegid_daemon.once import once
from cegid_daemon.workshop import Order
from tests.unit.spine import Spine, route

Build = Callable[..., Spine]


def kill_while_rewriting(spine: Spine, *, restart: bool = True) -> bool:
    """A look of a new process that is killed in the workshop; whether it got there."""
    if restart:
        spine.restart()
    begun: list[int] = []

    def die(orders: Sequence[Order]) -> None:
        begun.extend(order.message_id for order in orders)
        raise KeyboardInterrupt

    spine.workshop.rewrite = die  # type: ignore[method-assign,assignment]
    try:
        spine.look()
    except KeyboardInterrupt:
        return True
    assert not begun
    return False


def starts(spine: Spine) -> list[int]:
    return [row[0] for row in spine.sql("SELECT rewrite_starts FROM message ORDER BY id")]


def test_nine_kills_are_no_reason_to_fail(spine: Spine) -> None:
    spine.drop("a.csv", b"one")
    kills = 0
    while kills < 9:
        kills += kill_while_rewriting(spine)
        spine.after(minutes=3)
    spine.restart()
    spine.look()
    assert spine.states() == ["done"]
    assert spine.out() == {"a.xml": b"one"}


def test_ten_kills_within_ten_minutes_are_none_either(spine_of: Build) -> None:
    spine = spine_of()
    spine.drop("a.csv", b"one")
    for _ in range(15):
        spine.sql("SELECT 1")
        spine.journal.connection.execute("UPDATE message SET next_try_at = NULL")  # as `once` does
        assert kill_while_rewriting(spine)
        spine.after(seconds=30)
    spine.restart()
    assert once(spine.sources, clock=lambda: spine.now, wait=lambda _: True).delivered == 1


def test_pauses_grow_to_two_minutes_and_ten_starts_over_ten_minutes_end_it(spine: Spine) -> None:
    spine.drop("a.csv", b"one")
    at: list[float] = []
    begin = spine.now
    killed = True
    while spine.states() in ([], ["received"], ["waiting"]):
        if killed := kill_while_rewriting(spine, restart=killed):
            at.append((spine.now - begin).total_seconds())
        assert len(at) < 20
        spine.after(seconds=1)
    pauses = [round(after - before) for before, after in itertools.pairwise(at)]
    assert pauses == [1, 1, 5, 10, 20, 40, 80, 120, 120, 120]
    assert spine.states() == ["failed"]
    assert (spine.now - begin).total_seconds() > 600
    assert "again and again" in spine.filed("failed")["a.csv.error.txt"].decode()


def test_those_behind_it_wait_and_it_is_said_why(spine: Spine, caplog: pytest.LogCaptureFixture) -> None:
    spine.drop("a.csv", b"one")
    for _ in range(3):
        assert kill_while_rewriting(spine)
    spine.restart()
    spine.drop("b.csv", b"two")
    passed = spine.look()
    assert spine.out() == {}
    ((_, error),) = passed.stopped.values()
    assert "the daemon was ended while it rewrote this file" in error.what
    assert "2 starts did not finish" in caplog.text
    assert spine.states()[0] == "waiting"
    spine.after(seconds=5)
    spine.look()
    assert spine.states() == ["done", "done"]


def test_each_is_tried_by_itself(spine: Spine) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        spine.drop(name, b"x")
    assert kill_while_rewriting(spine)
    spine.restart()
    together: list[int] = []
    rewrite = spine.workshop.rewrite
    spine.workshop.rewrite = lambda orders: together.append(len(orders)) or rewrite(orders)  # type: ignore[method-assign]
    spine.look()
    assert together == [1, 1, 1]
    assert spine.states() == ["done"] * 3


def test_a_stop_in_good_order_counts_for_nothing_and_costs_no_pause(spine: Spine) -> None:
    spine.drop("a.csv", b"one")
    for _ in range(3):
        assert kill_while_rewriting(spine)
    spine.after(seconds=10)
    spine.restart()

    def stop(_: Sequence[Order]) -> None:
        raise Transient("the workshop is closed")

    spine.workshop.rewrite = stop  # type: ignore[method-assign,assignment]
    spine.look()
    assert starts(spine) == [3]
    spine.restart()
    spine.look()
    assert spine.states() == ["done"]


def test_only_what_was_being_rewritten_counts(spine_of: Build) -> None:
    """Files of other routes that lay beside the one that ends the daemon."""
    spine = spine_of(route("a", source_match=("A*",)), route("b", source_match=("B*",), target_folder="b"))
    spine.drop("A1.csv", b"one")
    spine.drop("B1.csv", b"two")
    for _ in range(4):
        kill_while_rewriting(spine)
        spine.after(minutes=5)
    spine.restart()
    for source in reversed(spine.sources):
        source.look()
    assert spine.states() == ["done", "done"]
    assert spine.out("b") == {"B1.xml": b"two"}


def test_a_clock_that_was_set_back_begins_the_ten_minutes_anew(spine: Spine) -> None:
    spine.drop("a.csv", b"one")
    for _ in range(3):
        assert kill_while_rewriting(spine)
    spine.after(days=-3)
    spine.journal.connection.execute("UPDATE message SET next_try_at = NULL, rewrite_starts = 12")
    assert kill_while_rewriting(spine)
    spine.after(minutes=11)
    spine.restart()
    spine.look()
    assert spine.states() == ["failed"]
