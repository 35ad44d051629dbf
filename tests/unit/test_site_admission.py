"""Who may come in: what a login costs and tells, whoever tries it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cegid_daemon import passwords
from cegid_daemon.model import SiteUser
from cegid_daemon.sites.admission import Admission, Attempts
from tests.servers.places import Hidden

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HASH = "$scrypt$ln=10,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that passwords were compared with."""
    found: list[str] = []

    def matches(password: str, text: str) -> bool:
        found.append(text)
        return password == "right"

    monkeypatch.setattr(passwords, "matches", matches)
    return found


def admission(*users: SiteUser, attempts: int = 3) -> Admission:
    return Admission("site", users, Attempts(attempts, timedelta(minutes=10)), lambda: NOW)


def test_an_unknown_name_costs_the_comparison_of_a_known_one(compared: list[str]) -> None:
    door = admission(SiteUser("cegid", "/in", Hidden(HASH)), SiteUser("keys", "/in", None, ("ssh-ed25519 …",)))
    assert door.admits("cegid", "right", "192.0.2.1")
    assert not door.admits("nobody", "right", "192.0.2.2")
    assert not door.admits("keys", "right", "192.0.2.3")
    assert not door.admits("\udcff", "right", "192.0.2.4")
    assert compared == [HASH] * 4


def test_a_site_without_passwords_compares_all_the_same(compared: list[str]) -> None:
    door = admission(SiteUser("keys", "/in", None, ("ssh-ed25519 …",)))
    assert not door.admits("keys", "right", "192.0.2.1")
    assert len(compared) == 1
    assert passwords.is_hash(compared[0])


def test_an_address_that_is_kept_out_costs_no_comparison(compared: list[str]) -> None:
    door = admission(SiteUser("cegid", "/in", Hidden(HASH)))
    for _ in range(10):
        assert not door.admits("cegid", "wrong", "192.0.2.1")
    assert len(compared) == 3
    assert not door.admits("cegid", "right", "192.0.2.1")
    assert door.admits("cegid", "right", "192.0.2.2")


def test_an_ipv6_host_has_no_more_guesses_than_another(compared: list[str]) -> None:
    door = admission(SiteUser("cegid", "/in", Hidden(HASH)))
    for number in range(10):
        assert not door.admits("cegid", "wrong", f"2001:db8:0:1::{number}")
    assert len(compared) == 3
    assert door.kept_out("2001:db8:0:1:ffff::1")
    assert not door.kept_out("2001:db8:0:2::1")
    assert door.admits("cegid", "right", "2001:db8:0:2::1")
