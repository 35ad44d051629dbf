"""Passwords as hashes, and how many guesses an address has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cegid_daemon import passwords
from cegid_daemon.model import SiteUser
from cegid_daemon.sites.admission import Admission, Attempts
from tests.servers.places import Hidden

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_password_matches_its_hash_and_no_other_does() -> None:
    text = passwords.hashed("geheim")
    assert passwords.is_hash(text)
    assert passwords.matches("geheim", text)
    assert not passwords.matches("Geheim", text)
    assert not passwords.matches("", text)


def test_two_hashes_of_one_password_differ() -> None:
    assert passwords.hashed("geheim") != passwords.hashed("geheim")


@pytest.mark.parametrize(
    "text",
    ["", "geheim", "$scrypt$ln=15,r=8,p=1$c2FsdA$", "$scrypt$ln=31,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$" + "A" * 43,
     "$scrypt$ln=15,r=0,p=1$MDEyMzQ1Njc4OWFiY2RlZg$" + "A" * 43, "$2b$12$abcdefghijklmnopqrstuv"],
)  # fmt: skip
def test_what_is_no_hash_of_ours_or_would_eat_the_memory_opens_nothing(text: str) -> None:
    assert not passwords.is_hash(text)
    assert not passwords.matches("geheim", text)


def test_an_address_is_kept_out_after_its_last_attempt_and_only_for_a_while() -> None:
    attempts = Attempts(2, timedelta(minutes=10))
    assert not attempts.failed("a", NOON)
    assert not attempts.kept_out("a", NOON)
    assert attempts.failed("a", NOON + timedelta(minutes=1))
    assert attempts.kept_out("a", NOON + timedelta(minutes=9))
    assert not attempts.kept_out("b", NOON)
    assert not attempts.kept_out("a", NOON + timedelta(minutes=10, seconds=1))


def test_a_login_that_succeeds_forgives_what_failed_before() -> None:
    attempts = Attempts(2, timedelta(minutes=10))
    attempts.failed("a", NOON)
    attempts.succeeded("a")
    assert not attempts.failed("a", NOON)


def test_a_user_without_a_password_is_never_admitted_by_one() -> None:
    users = (SiteUser("keys", "/srv", keys=("ssh-ed25519 …",)), SiteUser("pw", "/srv", Hidden(passwords.hashed("x"))))
    door = Admission("site", users, Attempts(9, timedelta(minutes=1)), lambda: NOON)
    assert not door.admits("keys", "", "a")
    assert not door.admits("nobody", "", "a")
    assert door.admits("pw", "x", "a")


def test_the_right_password_does_not_open_to_an_address_that_is_kept_out() -> None:
    door = Admission("site", (SiteUser("pw", "/srv", Hidden(passwords.hashed("x"))),),
                     Attempts(1, timedelta(minutes=1)), lambda: NOON)  # fmt: skip
    assert not door.admits("pw", "wrong", "a")
    assert not door.admits("pw", "x", "a")
    assert door.admits("pw", "x", "b")
