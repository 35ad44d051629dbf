"""Which connection gives way when too many come to a listener."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cegid_daemon.addresses import counted_as
from cegid_daemon.console.crowd import Crowd, Stage


@dataclass(eq=False)
class Line:
    """A connection of a test."""

    address: str
    does: Stage = Stage.SILENT
    left: list[str] = field(default_factory=list)

    def stage(self) -> Stage:
        return self.does

    def leave(self) -> None:
        self.left.append(self.address)


def crowd_of(most: int, most_of_address: int, *lines: Line) -> Crowd:
    crowd = Crowd(most, most_of_address)
    for line in lines:
        assert crowd.make_room(line.address)
        crowd.add(line)
    return crowd


def test_within_the_bounds_nobody_gives_way():
    lines = [Line("a"), Line("a"), Line("b")]
    crowd_of(4, 3, *lines)
    assert not any(line.left for line in lines)


def test_at_the_bound_of_an_address_its_longest_silent_one_gives_way():
    lines = [Line("b"), Line("a"), Line("a"), Line("a")]
    crowd = crowd_of(9, 3, *lines)
    crowd.answered(lines[1])
    assert crowd.make_room("a")
    assert [bool(line.left) for line in lines] == [False, False, True, False]


def test_at_the_bound_in_all_the_most_crowded_address_gives_way():
    lines = [Line("b"), Line("a"), Line("a")]
    assert crowd_of(3, 3, *lines).make_room("c")
    assert [bool(line.left) for line in lines] == [False, True, False]


def test_those_without_a_login_give_way_before_those_with_one():
    lines = [Line("a", does) for does in (Stage.SILENT, Stage.SLOW, Stage.IDLE)]
    crowd = crowd_of(3, 3, *reversed(lines))
    for line in lines:
        assert not line.left
        assert crowd.make_room("a")
        assert line.left
        crowd.add(Line("a", Stage.BUSY))


def test_a_silent_one_of_any_address_gives_way_before_one_that_logged_in():
    lines = [Line("a", Stage.IDLE), Line("a", Stage.IDLE), Line("b")]
    assert crowd_of(3, 3, *lines).make_room("c")
    assert [bool(line.left) for line in lines] == [False, False, True]


def test_where_all_are_busy_the_newcomer_is_refused():
    lines = [Line("a", Stage.BUSY), Line("b", Stage.BUSY)]
    crowd = crowd_of(2, 2, *lines)
    assert not crowd.make_room("a")
    assert not crowd.make_room("c")
    assert not crowd.end_one()
    assert not any(line.left for line in lines)


def test_one_that_was_told_to_leave_is_not_told_twice_and_counts_no_more():
    first, second = Line("a"), Line("a")
    crowd = crowd_of(2, 2, first, second)
    for _ in range(2):
        assert crowd.make_room("a")
        crowd.add(Line("a"))
    assert (first.left, second.left) == (["a"], ["a"])
    for gone in (first, second, second):
        crowd.answered(gone)
        crowd.forget(gone)
    assert len(crowd) == 2


def test_a_proxy_of_ours_is_bounded_in_all_only():
    lines = [Line("proxy", Stage.BUSY) for _ in range(3)]
    crowd = Crowd(4, 1)
    for line in lines:
        assert crowd.make_room("proxy", bounded=False)
        crowd.add(line)
    assert not crowd.make_room("proxy")


def test_when_descriptors_run_out_one_that_is_silent_gives_way():
    silent = Line("a")
    assert crowd_of(5, 5, Line("a", Stage.BUSY), silent).end_one()
    assert silent.left


def test_a_thousand_from_one_address_leave_room_for_another():
    crowd, lines = Crowd(256, 192), []
    for _ in range(1100):
        line = Line("10.0.0.9")
        if crowd.make_room(line.address):
            crowd.add(line)
            lines.append(line)
        for one in [one for one in lines if one.left]:
            crowd.forget(one)
            lines.remove(one)
    assert len(crowd) == 192
    assert crowd.make_room("10.0.0.8")
    assert not any(line.left for line in lines)


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("10.0.0.9", "10.0.0.9"),
        ("::ffff:10.0.0.9", "10.0.0.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_counts_for_its_subscriber(host, counted):
    assert counted_as(host) == counted
