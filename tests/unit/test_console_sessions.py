"""Sessions, roles, and how often a login may fail."""

from __future__ import annotations

import pytest

from cegid_daemon.config import ConsoleSpec, Secret
from cegid_daemon.console.login import local_path
from cegid_daemon.console.sessions import FORGET, IDLE, LONGEST, LoginLimit, Role, Sessions, role_of

SPEC = ConsoleSpec("127.0.0.1:1", Secret("edit me"), Secret("look"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("typed", "role"),
    [("edit me", Role.OPERATOR), ("look", Role.VIEWER), ("", None), ("Edit me", None), ("\ud800", None)],
)
def test_each_password_opens_its_role(typed, role):
    assert role_of(typed, SPEC) is role


def test_a_missing_viewer_password_is_no_blank_one():
    assert role_of("", ConsoleSpec("127.0.0.1:1", Secret("edit me"))) is None


def test_a_session_ends_when_nobody_uses_it_and_in_any_case_after_a_week():
    clock = Clock()
    sessions = Sessions(clock)
    token, session = sessions.open("Ann", Role.OPERATOR)
    assert sessions.find(token) is session
    clock.now += IDLE + 1
    assert sessions.find(token) is None

    token, session = sessions.open("Ann", Role.OPERATOR)
    for _ in range(int(LONGEST / IDLE) + 2):
        clock.now += IDLE - 1
        found = sessions.find(token)
    assert found is None


def test_a_closed_session_and_a_made_up_token_open_nothing():
    sessions = Sessions(Clock())
    token, _ = sessions.open("Ann", Role.OPERATOR)
    sessions.close(token)
    assert sessions.find(token) is None
    assert sessions.find("") is None
    assert sessions.find("\ud800") is None


def test_sessions_are_bounded_and_the_one_unused_for_longest_gives_way():
    clock = Clock()
    sessions = Sessions(clock)
    first, _ = sessions.open("first", Role.VIEWER)
    for number in range(600):
        clock.now += 1
        last, _ = sessions.open(f"n{number}", Role.VIEWER)
    assert sessions.find(first) is None
    assert sessions.find(last) is not None


def test_a_crowd_of_viewers_ends_no_session_of_an_operator():
    clock = Clock()
    sessions = Sessions(clock)
    operator, _ = sessions.open("Ann", Role.OPERATOR)
    for number in range(600):
        clock.now += 1
        viewer, _ = sessions.open(f"n{number}", Role.VIEWER)
        assert sessions.find(viewer) is not None
    assert sessions.find(operator) is not None


def test_a_script_that_keeps_no_cookie_ends_no_session_of_a_person():
    clock = Clock()
    sessions = Sessions(clock)
    person, _ = sessions.open("local", Role.OPERATOR)
    clock.now += 1
    assert sessions.find(person) is not None
    for _ in range(600):
        clock.now += 1
        sessions.open("local", Role.OPERATOR)
    assert sessions.find(person) is not None


def test_every_session_has_a_token_of_its_own_for_forms():
    sessions = Sessions(Clock())
    assert sessions.open("a", Role.OPERATOR)[1].csrf != sessions.open("a", Role.OPERATOR)[1].csrf


def test_an_address_that_fails_often_waits_longer_and_longer():
    clock = Clock()
    limit = LoginLimit(clock)
    for _ in range(4):
        limit.failed("10.0.0.9")
        assert limit.wait("10.0.0.9") == 0
    limit.failed("10.0.0.9")
    assert limit.wait("10.0.0.9") == 10
    clock.now += 10
    assert limit.wait("10.0.0.9") == 0
    limit.failed("10.0.0.9")
    assert limit.wait("10.0.0.9") == 20
    assert limit.wait("10.0.0.8") == 0


def test_a_right_password_forgets_the_failures():
    limit = LoginLimit(Clock())
    for _ in range(5):
        limit.failed("10.0.0.9")
    limit.worked("10.0.0.9")
    assert limit.wait("10.0.0.9") == 0


def test_all_addresses_together_are_bounded():
    clock = Clock()
    limit = LoginLimit(clock)
    for number in range(60):
        limit.failed(f"10.0.1.{number}")
    assert limit.wait("10.0.9.9") > 0
    clock.now += 61
    assert limit.wait("10.0.9.9") == 0


def test_guesses_from_everywhere_keep_out_no_address_that_knew_the_password():
    limit = LoginLimit(Clock())
    limit.worked("198.51.100.1")  # a scraper of metrics, which keeps no cookie
    for number in range(200):
        limit.failed(f"10.0.{number}.1", "Ann")
    assert limit.wait("198.51.100.1") == 0
    assert limit.wait("198.51.100.1", "Ann") == 0
    assert limit.wait("198.51.100.2", "Ann") > 0
    for _ in range(20):
        limit.failed("198.51.100.1", "Ann")
    assert limit.wait("198.51.100.1") > 0  # its own failures count as ever


def test_addresses_that_knew_the_password_are_bounded():
    limit = LoginLimit(Clock())
    for number in range(3000):
        limit.worked(f"10.{number // 250}.{number % 250}.1")
    assert len(limit._known) <= 2000


def test_one_guess_each_quarter_of_an_hour_keeps_nobody_out():
    clock = Clock()
    limit = LoginLimit(clock)
    for number in range(200):
        assert limit.wait("10.0.0.9", f"n{number % 3}") == 0
        limit.failed("10.0.0.9", f"n{number % 3}")
        clock.now += 900
    assert limit.wait("10.0.0.9", "Ann") == 0


def test_a_guesser_behind_the_same_address_keeps_out_the_name_he_guesses_only():
    clock = Clock()
    limit = LoginLimit(clock)
    for _ in range(100):
        if not limit.wait("10.0.0.9", "root"):
            limit.failed("10.0.0.9", "root")
        clock.now += 1
    assert limit.wait("10.0.0.9", " ROOT ") > 0
    assert limit.wait("10.0.0.9", "Ann") == 0


def test_an_address_that_guesses_under_many_names_waits_a_minute_at_most():
    clock = Clock()
    limit = LoginLimit(clock)
    tried = 0
    for number in range(3600):
        if not limit.wait("10.0.0.9", f"n{number}"):
            limit.failed("10.0.0.9", f"n{number}")
            tried += 1
        assert limit.wait("10.0.0.9", "Ann") <= 60
        clock.now += 1
    assert tried < 100
    assert limit.wait("10.0.0.8", "Ann") == 0


def test_failures_are_forgotten_by_and_by():
    clock = Clock()
    limit = LoginLimit(clock)
    for _ in range(7):
        limit.failed("10.0.0.9", "Ann")
    assert limit.wait("10.0.0.9", "Ann") == 40
    clock.now += 5 * FORGET
    limit.failed("10.0.0.9", "Ann")
    assert limit.wait("10.0.0.9", "Ann") == 0


def test_a_subscriber_with_many_addresses_is_one():
    limit = LoginLimit(Clock())
    for number in range(5):
        limit.failed(f"2001:db8:1:2::{number}", "Ann")
    assert limit.wait("2001:db8:1:2::99", "Ann") > 0
    assert limit.wait("2001:db8:1:3::1", "Ann") == 0


def test_many_names_do_not_make_older_failures_of_others_be_forgotten_at_once():
    limit = LoginLimit(Clock())
    for _ in range(5):
        limit.failed("10.0.0.9", "Ann")
    for number in range(5_000):
        limit.failed("10.0.0.8", f"n{number}")
    assert limit._failures[("10.0.0.9", "ann")].times == 5
    for number in range(30_000):
        limit.failed("10.0.0.8", f"m{number}")
    assert len(limit._failures) <= 20_000


@pytest.mark.parametrize("path", ["/", "/log?q=a", "/message/3"])
def test_a_login_leads_back_to_where_one_came_from(path):
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "/a\r\nb", "/login"],
)
def test_a_login_never_leads_to_another_site(path):
    assert local_path(path) == "/"
