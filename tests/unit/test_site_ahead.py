"""What came of an upload ahead of its turn: kept within bounds, given back in order."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.sites.ahead import MAX_BYTES, MAX_PIECES, Ahead, AheadBudget


def taken(ahead: Ahead, end: int) -> bytes:
    found = b""
    while (piece := ahead.take(end + len(found))) is not None:
        found += piece
    return found


def test_pieces_come_back_when_the_gap_is_closed() -> None:
    ahead = Ahead(AheadBudget())
    ahead.keep(4, b"ef")
    ahead.keep(2, b"cd")
    assert ahead.take(1) is None
    assert taken(ahead, 2) == b"cdef"
    assert not ahead


def test_what_was_written_since_is_not_taken_again() -> None:
    ahead = Ahead(AheadBudget())
    ahead.keep(2, b"old, and the rest")
    assert taken(ahead, 7) == b"and the rest"
    assert not ahead


def test_a_piece_twice_counts_once() -> None:
    budget = AheadBudget(1000)
    ahead = Ahead(budget)
    for _ in range(10):
        ahead.keep(5, b"x" * 700)
    ahead.keep(5, b"y")
    assert taken(ahead, 5) == b"y" + b"x" * 699
    assert budget.take(1000)


def test_one_upload_is_bounded_in_bytes_and_in_pieces() -> None:
    ahead = Ahead(AheadBudget(1 << 40))
    with pytest.raises(OSError, match="too far ahead"):
        ahead.keep(1, bytes(MAX_BYTES + 1))
    for number in range(MAX_PIECES):
        ahead.keep(1 + number, b"x")
    with pytest.raises(OSError, match="too far ahead"):
        ahead.keep(1 << 30, b"x")


def test_all_uploads_together_are_bounded_and_give_back_what_they_drop() -> None:
    budget = AheadBudget()
    uploads = [Ahead(budget) for _ in range(10)]
    kept = 0
    for ahead in uploads:
        try:
            ahead.keep(1, bytes(15 << 20))
        except OSError:
            continue
        kept += 1
    assert kept == 2
    for ahead in uploads:
        ahead.clear()
    assert budget.take(32 << 20)


def test_time_grows_with_the_number_of_pieces_only() -> None:
    ahead = Ahead(AheadBudget())
    begun = time.process_time()
    for number in range(MAX_PIECES):
        ahead.keep(MAX_PIECES - number, b"x")
    assert taken(ahead, 1) == b"x" * MAX_PIECES
    assert time.process_time() - begun < 1


@given(st.permutations(range(12)), st.integers(1, 5))
def test_any_order_makes_the_same_file(order: list[int], size: int) -> None:
    whole = bytes(range(12 * size))
    budget = AheadBudget()
    ahead, written = Ahead(budget), bytearray()
    for number in order:
        piece = whole[number * size : (number + 1) * size]
        if number * size > len(written):
            ahead.keep(number * size, piece)
            continue
        written += piece
        written += taken(ahead, len(written))
    assert bytes(written) == whole
    assert budget.take(32 << 20)
