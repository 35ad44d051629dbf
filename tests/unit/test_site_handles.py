"""How many files SFTP clients may have open, and what a large listing costs."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from cegid_daemon.sites.handles import MAX_OF_SESSION, HandleBounds
from cegid_daemon.sites.names import Names


@dataclass(eq=False)
class Session:
    user: str = "cegid"
    handles: int = 0


def test_a_session_a_user_and_a_site_have_bounds() -> None:
    bounds = HandleBounds(60)
    sessions = [Session() for _ in range(3)]
    others = [Session("orders") for _ in range(3)]
    for one in sessions + others:
        bounds.add(one)
    sessions[0].handles = MAX_OF_SESSION
    with pytest.raises(OSError, match="too many"):
        bounds.check(sessions[0])
    sessions[1].handles = 30 - MAX_OF_SESSION
    with pytest.raises(OSError, match="too many"):
        bounds.check(sessions[2])
    bounds.check(others[0])
    for one in others:
        one.handles = 10
    with pytest.raises(OSError, match="too many"):
        bounds.check(others[0])
    bounds.remove(sessions[0])
    bounds.check(sessions[2])


def test_names_are_sorted_and_come_back_as_they_were() -> None:
    names = Names(["b", "ä", "a\udcff", "a"])
    assert list(names) == ["a", "a\udcff", "b", "ä"]
    assert list(names) == list(names)
    assert [list(batch) for batch in names.batches(3)] == [["a", "a\udcff", "b"], ["ä"]]
    assert len(names) == 4
    assert list(Names([])) == []


def test_a_large_listing_is_kept_in_little_memory() -> None:
    names = Names(f"{number:020}" for number in range(100_000))
    assert sys.getsizeof(names._bytes) < 2_200_000
