"""Which connections a site takes, and which gives way in a crowd."""

from __future__ import annotations

import logging

import pytest

from cegid_daemon.model import SiteSpec
from cegid_daemon.sites.connections import (
    LOG_SECONDS,
    MAX_WAITING,
    Connection,
    ConnectionTable,
    SiteBounds,
    bounds_of,
)


class Crowd:
    """A table, and who was closed by it."""

    def __init__(self, *, logged_in: int = 4, of_address: int = 4, waiting: int = MAX_WAITING) -> None:
        self.table = ConnectionTable("site", SiteBounds(logged_in, of_address, waiting, waiting // 2))
        self.closed: list[Connection] = []
        self.now = 0.0

    def come(self, address: str = "192.0.2.1", *, spoke: bool = False) -> Connection | None:
        self.now += 1
        one = self.table.admit(address, self.now)
        if one is not None:
            one.close = lambda: self.closed.append(one)
            one.spoke = spoke
        return one


def test_of_a_crowd_from_one_address_the_oldest_silent_one_gives_way() -> None:
    crowd = Crowd()
    spoke = crowd.come(spoke=True)
    silent = [crowd.come() for _ in range(MAX_WAITING // 2 - 1)]
    assert crowd.closed == []
    assert crowd.come() is not None
    assert crowd.closed == [silent[0]]
    assert spoke not in crowd.closed
    assert len(crowd.table) == MAX_WAITING // 2


def test_of_many_addresses_the_one_with_the_most_gives_way() -> None:
    crowd = Crowd(waiting=8)
    lone = crowd.come("192.0.2.9")
    for number in range(4):
        crowd.come("192.0.2.1")
        if number < 3:
            crowd.come("192.0.2.2")
    assert len(crowd.table) == 8
    crowd.come("192.0.2.3")
    assert [one.address for one in crowd.closed] == ["192.0.2.1"]
    assert lone not in crowd.closed


def test_a_crowd_that_does_not_log_in_keeps_nobody_out() -> None:
    crowd = Crowd()
    for number in range(1000):
        crowd.come(f"192.0.2.{number % 200}", spoke=bool(number % 3))
    sender = crowd.come("192.0.2.1")
    assert sender is not None
    assert crowd.table.log_in(sender)
    for _ in range(1000):
        crowd.come("192.0.2.1")
    assert sender not in crowd.closed
    assert len(crowd.table) <= MAX_WAITING + 1


def test_logged_in_places_are_bounded_in_all_and_by_address() -> None:
    crowd = Crowd(logged_in=3, of_address=2)
    first, second, third = (crowd.come("192.0.2.1") for _ in range(3))
    assert first and second and third
    assert crowd.table.log_in(first)
    assert crowd.table.log_in(second)
    assert not crowd.table.log_in(third)
    assert crowd.come("192.0.2.1") is None
    other = crowd.come("192.0.2.2")
    assert other and crowd.table.log_in(other)
    assert crowd.come("192.0.2.3") is None
    crowd.table.remove(first)
    assert crowd.come("192.0.2.3") is not None


def test_who_logs_out_waits_again() -> None:
    crowd = Crowd(logged_in=1)
    first = crowd.come()
    assert first and crowd.table.log_in(first)
    assert crowd.come() is None
    crowd.table.log_out(first, 5)
    assert (first.logged_in, first.since) == (False, 5)
    assert crowd.come() is not None


def test_who_gave_way_cannot_log_in_any_more() -> None:
    crowd = Crowd(waiting=2)
    first = crowd.come("192.0.2.1")
    crowd.come("192.0.2.1")
    assert first in crowd.closed
    assert not crowd.table.log_in(first)


def test_one_host_with_a_network_of_addresses_counts_as_one() -> None:
    crowd = Crowd(logged_in=9, of_address=1)
    first = crowd.come("2001:db8::1")
    assert first and crowd.table.log_in(first)
    assert crowd.come("2001:db8::ffff:2") is None
    assert crowd.come("2001:db8:0:1::1") is not None
    mapped = crowd.come("::ffff:192.0.2.1")
    assert mapped and mapped.address == "192.0.2.1"
    assert crowd.come("fe80::1%eth0") is not None


def test_whose_password_is_compared_gives_way_last() -> None:
    crowd = Crowd(waiting=4)
    proving, spoke = crowd.come(spoke=True), crowd.come(spoke=True)
    assert proving is not None
    proving.proves = True
    crowd.come()
    assert crowd.closed == [spoke]


def test_as_many_may_log_in_at_once_as_may_be_logged_in() -> None:
    spec = SiteSpec("ftp", "", 0, (), connections=100)
    bounds = bounds_of(spec, 4096)
    assert (bounds.logged_in, bounds.waiting, bounds.waiting_of_address) == (100, 100, 100)


def test_giving_way_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    crowd = Crowd(waiting=2)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            crowd.come()
        assert len(caplog.records) == 1
        crowd.now += LOG_SECONDS
        crowd.come()
    assert len(caplog.records) == 2
    assert "gave way" in caplog.text


@pytest.mark.parametrize("kind", ["ftp", "sftp"])
@pytest.mark.parametrize("share", [16, 48, 192, 240, 4096])
@pytest.mark.parametrize("connections", [1, 20, 200, 5000])
def test_a_site_keeps_to_its_share_of_descriptors(kind: str, share: int, connections: int) -> None:
    bounds = bounds_of(SiteSpec(kind, "127.0.0.1", 0, (), connections=connections), share)
    each = 1 if kind == "sftp" else 5
    used = 4 + bounds.waiting + each * bounds.logged_in + 3 * bounds.handles
    assert used <= max(share, 12)
    assert bounds.logged_in >= 1
    assert bounds.limited == (bounds.logged_in < connections)


def test_the_usual_limit_holds_the_default() -> None:
    ftp = bounds_of(SiteSpec("ftp", "", 0, (), connections_per_address=20), 192)
    sftp = bounds_of(SiteSpec("sftp", "", 0, (), connections_per_address=20), 240)
    assert (ftp.logged_in, ftp.of_address, ftp.waiting_of_address, ftp.limited) == (30, 20, 20, False)
    assert (sftp.logged_in, sftp.of_address, sftp.waiting_of_address, sftp.limited) == (30, 20, 20, False)
    assert sftp.handles >= 55
