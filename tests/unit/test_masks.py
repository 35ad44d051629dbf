"""File masks: what they take, and whether two can take one same name."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.masks import Masks, overlap


@pytest.mark.parametrize(
    ("mask", "name", "taken"),
    [
        ("*", "a.csv", True),
        ("*.csv", "a.csv", True),
        ("*.csv", "a.CSV", False),
        ("STOCK*.csv", "STOCK.csv", True),
        ("STOCK*.csv", "xSTOCK.csv", False),
        ("AE?", "AE1", True),
        ("AE?", "AE", False),
        ("a[0-9].csv", "a7.csv", True),
        ("a[!0-9].csv", "a7.csv", False),
        ("a[!0-9].csv", "ab.csv", True),
        ("a[]x]b", "a]b", True),
        ("a[b", "a[b", True),
        ("a[9-0]", "a5", False),
        ("a.b+(c)|d^$", "a.b+(c)|d^$", True),
        ("a.b", "axb", False),
        ("*", ".hidden", False),
        ("?hidden", ".hidden", False),
        ("[.]hidden", ".hidden", False),
        (".*", ".hidden", True),
        (".*", "plain", False),
        ("*", "new\nline", True),
        ("*.csv", "bytes\udcff.csv", True),
        ("", "a", False),
    ],
)
def test_a_mask_takes_what_a_shell_would(mask: str, name: str, taken: bool) -> None:
    assert Masks((mask,)).takes(name) is taken


def test_a_name_is_taken_by_any_mask_and_left_by_any_ignored_one() -> None:
    masks = Masks(("AE*", "*.txt"), ("*.tmp", "AE0*"))
    assert [name for name in ("AE1", "x.txt", "AE01", "AE.tmp", "x.csv") if masks.takes(name)] == ["AE1", "x.txt"]


def test_an_ignored_mask_holds_for_hidden_names_too() -> None:
    assert not Masks((".*",), ("*.tmp",)).takes(".part.tmp")


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (["*"], ["*"], True),
        (["STOCK*.csv"], ["*.csv"], True),
        (["STOCK*"], ["PROD*"], False),
        (["*.csv"], ["*.xml"], False),
        (["*.csv"], ["a*v"], True),
        (["a?c"], ["a[b-d]c"], True),
        (["a[0-4]"], ["a[5-9]"], False),
        (["a[!0-9]"], ["a[0-9]"], False),
        (["a[!0-9]"], ["a[0-9a]"], True),
        ([".*"], ["*"], False),
        (["[.x]*"], ["[.]*"], False),
        (["x"], ["a", "b", "x"], True),
        (["a[9-0]"], ["*"], False),
        ([], ["*"], False),
        ([""], ["*"], False),
        (["*a*a*a*a*a*"], ["*b*b*b*b*b*"], True),
        (["a[/]b"], ["*"], False),
    ],
)
def test_overlap_is_exact(one: list[str], other: list[str], shared: bool) -> None:
    assert overlap(one, other) is shared
    assert overlap(other, one) is shared


masks = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "[.b]"]), max_size=5).map("".join)
names = st.text("ab.c", min_size=1, max_size=6)


@given(masks, names)
def test_masks_agree_with_the_standard_library_but_for_hidden_names(mask: str, name: str) -> None:
    expected = fnmatch.fnmatchcase(name, mask) and (mask.startswith(".") or not name.startswith("."))
    assert Masks((mask,)).takes(name) is expected


@given(masks, masks, names)
def test_masks_that_take_one_same_name_overlap(one: str, other: str, name: str) -> None:
    if Masks((one,)).takes(name) and Masks((other,)).takes(name):
        assert overlap([one], [other])


@given(masks, masks)
def test_masks_that_overlap_take_one_same_name(one: str, other: str) -> None:
    from itertools import product

    short = ("".join(letters) for size in range(1, 8) for letters in product("abc.", repeat=size))
    if len(one) + len(other) <= 7:
        both = (name for name in short if Masks((one,)).takes(name) and Masks((other,)).takes(name))
        assert overlap([one], [other]) is (next(both, None) is not None)


def test_a_hostile_name_takes_no_time() -> None:
    masks = Masks((f"{'*a' * 40}*b",), (f"{'*aa?' * 20}c",))
    begun = time.process_time()
    assert not masks.takes("a" * 4000)
    assert Masks((f"{'*a' * 40}*b",)).takes("a" * 4000 + "b")
    assert time.process_time() - begun < 1
