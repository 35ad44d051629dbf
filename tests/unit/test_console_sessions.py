"""Sessions, roles, and how often a login may fail."""

from __future__ import annotations

import pytest

from cegid_daemon.config import ConsoleSpec, Secret
from cegid_daemon.console.login import local_path
from cegid_daemon.console.sessions import IDLE, LONGEST, LoginLimit, Role, Sessions, role_of

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


@pytest.mark.parametrize("path", ["/", "/log?q=a", "/message/3"])
def test_a_login_leads_back_to_where_one_came_from(path):
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "/a\r\nb", "/login"],
)
def test_a_login_never_leads_to_another_site(path):
    assert local_path(path) == "/"
