"""The cookie of a browser that logged in before, and the key it is signed with."""

from __future__ import annotations

import pytest

from cegid_daemon.config import ConsoleSpec, Secret
from cegid_daemon.console.devices import LIFETIME, Devices, device_key
from cegid_daemon.console.sessions import Role

SPEC = ConsoleSpec("127.0.0.1:1", Secret("edit me"), Secret("look"))
KEY = bytes(range(32))
NOW = 1_700_000_000.0


def devices(spec: ConsoleSpec = SPEC, key: bytes = KEY) -> Devices:
    return Devices(key, spec, "console")


def cookies(account: str = "Ann", role: Role = Role.OPERATOR) -> dict[str, str]:
    made = devices()
    return {made.cookie(account): made.token(account, role, NOW)}


@pytest.mark.parametrize("role", list(Role))
def test_a_browser_is_known_for_the_name_and_role_it_logged_in_with(role):
    assert devices().role(cookies(role=role), "Ann", NOW + 1) is role
    assert devices().role(cookies(role=role), " ann ", NOW + 1) is role


def test_it_is_not_known_under_another_name():
    assert devices().role(cookies(), "Bob", NOW) is None
    moved = {devices().cookie("Bob"): next(iter(cookies().values()))}
    assert devices().role(moved, "Bob", NOW) is None


def test_the_cookie_ends_with_its_password_its_key_and_its_time():
    changed = ConsoleSpec("127.0.0.1:1", Secret("changed"), Secret("look"))
    assert devices(changed).role(cookies(), "Ann", NOW) is None
    assert devices(changed).role(cookies(role=Role.VIEWER), "Ann", NOW) is Role.VIEWER
    assert devices(key=bytes(32)).role(cookies(), "Ann", NOW) is None
    assert devices().role(cookies(), "Ann", NOW + LIFETIME) is Role.OPERATOR
    assert devices().role(cookies(), "Ann", NOW + LIFETIME + 1) is None
    assert devices().role(cookies(), "Ann", NOW - 2) is None


@pytest.mark.parametrize(
    "token", ["", ".", "1.", ".a", "x.y", "9" * 40 + ".a", "\ud800.\ud800", "١.a", "1." + "a" * 9999]
)
def test_a_made_up_cookie_is_nobodys(token):
    assert devices().role({devices().cookie("Ann"): token}, "Ann", NOW) is None


def test_a_viewer_cookie_stands_for_no_role_without_a_password():
    alone = ConsoleSpec("127.0.0.1:1", Secret("edit me"))
    made = Devices(KEY, alone, "console")
    assert made.role({made.cookie("Ann"): made.token("Ann", Role.VIEWER, NOW)}, "Ann", NOW) is None


def test_the_key_survives_a_restart_and_is_for_its_owner_only(tmp_path):
    first = device_key(tmp_path)
    assert len(first) == 32
    assert device_key(tmp_path) == first
    assert (tmp_path / "console.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"short"), lambda path: path.chmod(0o644)])
def test_a_key_that_others_could_know_is_made_anew(tmp_path, spoil):
    first = device_key(tmp_path)
    spoil(tmp_path / "console.key")
    assert device_key(tmp_path) != first
    assert (tmp_path / "console.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_cannot_be_kept_ends_with_the_daemon(tmp_path, caplog):
    gone = tmp_path / "no" / "such" / "folder"
    assert device_key(gone) != device_key(gone)
    assert "known until the next start" in caplog.text
