"""A lock that somebody else holds is waited for, and not for ever."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cegid_daemon.locks import flock, retried


@pytest.fixture
def two_descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    opened = [os.open(tmp_path, os.O_RDONLY) for _ in range(2)]
    yield opened[0], opened[1]
    for one in opened:
        os.close(one)


def test_one_of_two_has_the_lock(two_descriptors: tuple[int, int]) -> None:
    first, second = two_descriptors
    assert flock(first)
    assert not flock(second)
    assert not retried(lambda: flock(second), 0.01)
    assert flock(first), "who has it may ask again"


def test_what_is_free_later_is_got_later() -> None:
    answers = iter([False, False, True])
    assert retried(lambda: next(answers), 30)
    assert list(answers) == []


def test_it_is_tried_once_though_there_is_no_time() -> None:
    tries: list[bool] = []
    assert not retried(lambda: bool(tries.append(True)), 0)
    assert tries == [True]


def test_what_cannot_be_locked_at_all_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        flock(1 << 20)
