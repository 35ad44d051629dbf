"""How many file descriptors each listener may use."""

from __future__ import annotations

import resource

import pytest

from cegid_daemon.descriptors import RESERVE, limit, raise_limit, reserve_of, share, share_of

LISTENERS = ("console", "probes", "ftp", "sftp")


@pytest.mark.parametrize("descriptors", [64, 256, 500, 512, 1024, 4096, 65_536, 1 << 20])
def test_reserve_and_shares_never_exceed_the_limit(descriptors):
    shares = [share_of(name, descriptors) for name in LISTENERS]
    assert sum(shares) + reserve_of(descriptors) <= descriptors
    assert all(one > 0 for one in shares)


def test_with_the_usual_limit_the_core_keeps_its_reserve():
    assert reserve_of(1024) == RESERVE == 256
    assert {name: share_of(name, 1024) for name in LISTENERS} == {
        "console": 288, "sftp": 240, "ftp": 192, "probes": 48,
    }  # fmt: skip


def test_a_small_limit_is_halved():
    assert reserve_of(300) == 150
    assert sum(share_of(name, 300) for name in LISTENERS) <= 150


def test_a_share_has_an_end_however_large_the_limit():
    assert share_of("console", 1 << 20) == 4096


def test_an_unknown_listener_is_an_error():
    with pytest.raises(KeyError):
        share("gopher")


@pytest.fixture
def limits():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_to_the_hard_one(limits):
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    assert limit() == 200
    assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 1 << 20)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard


def test_a_higher_soft_limit_stays(limits):
    raised = raise_limit()
    assert raise_limit() == raised
