"""Names of our own: within 255 bytes, never half a character, and known again."""

from __future__ import annotations

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cegid_daemon.pipeline.naming import error_name, numbered, subfolder

NAMES = st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw).map(os.fsdecode)


@pytest.mark.parametrize(
    ("name", "number", "wanted"),
    [
        ("S1.csv", 1, "S1.csv"),
        ("S1.csv", 2, "S1.2.csv"),
        ("a.b.csv", 3, "a.b.3.csv"),
        ("plain", 2, "plain.2"),
        (".hidden", 2, ".hidden.2"),
        ("x" * 251 + ".csv", 12, "x" * 248 + ".12.csv"),
    ],
)
def test_a_number_comes_before_the_suffix(name: str, number: int, wanted: str) -> None:
    assert numbered(name, number) == wanted


@given(NAMES, st.integers(2, 10**6))
def test_numbered_names_fit_and_differ(name: str, number: int) -> None:
    made = numbered(name, number)
    assert len(os.fsencode(made)) <= 255
    assert "/" not in made
    assume(len(os.fsencode(name)) < 240)
    assert made != name
    assert made != numbered(name, number + 1)


@given(NAMES)
def test_error_names_fit(name: str) -> None:
    assert len(os.fsencode(error_name(name))) <= 255
    assert error_name(name).endswith(".error.txt")


def test_whole_characters_are_kept_or_dropped() -> None:
    assert numbered("é" * 127, 2) == "é" * 126 + ".2"


def test_an_archive_with_a_slash_counts_from_the_root() -> None:
    assert subfolder("in/stock", "failed") == "in/stock/failed"
    assert subfolder("", "failed") == "failed"
    assert subfolder("in", "/done") == "done"
