"""Patterns of temporary names: which are refused and why, the names they give, and whose names they know again."""

from __future__ import annotations

import os

import pytest

from cegid_daemon.temporary import DEFAULT, EXAMPLES, TemporaryPattern, pattern_fault, upload_id


@pytest.mark.parametrize("text", [*EXAMPLES, "{name}.{id}", "a/b/{id}.{name}", "ünter {id}", "{id}"])
def test_patterns_that_are_fine(text: str) -> None:
    assert pattern_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "part of its path is blank"),
        ("None", "without {id}"),
        (".part", "without {id}"),
        ("{name}.part", "without {id}"),
        ("{id}/x", "placeholder"),
        ("tmp/{name}/{id}", "placeholder"),
        ("/tmp/{id}", "begins with '/'"),
        ("tmp//{id}", "blank"),
        ("tmp/", "blank"),
        ("../{id}", "'..'"),
        ("a/../{id}", "'..'"),
        ("./{id}", "'..'"),
        ("a\0{id}", "control character"),
        ("a\n{id}", "control character"),
        ("a\\{id}", "backslash"),
        ("{id}{id}", "twice"),
        ("{ID}", "knows no {ID}"),
        ("{id}{part}", "knows no {part}"),
        ("{{ id }}", "knows no { id }"),
        ("{id}}", "brace"),
        (" {id}", "blank"),
        ("x" * 216 + "{id}", "longer than 255 bytes"),
        ("é" * 108 + "{id}", "longer than 255 bytes"),
        ("x" * 256 + "/{id}", "longer than 255 bytes"),
    ],
)
def test_patterns_that_are_refused_say_why(text: str, why: str) -> None:
    assert why in pattern_fault(text)


@pytest.mark.parametrize("text", [one for one in EXAMPLES if one != "none"] + ["{name}~{id}", "~{id}-{name}"])
def test_a_pattern_knows_its_own_names_and_no_others(text: str) -> None:
    pattern = TemporaryPattern(text)
    folder, _, name = pattern.path(upload_id("abc", 12, 3), "S1.csv").rpartition("/")
    assert folder == pattern.folder
    assert pattern.upload_in("abc", name) == (12, 3)
    assert pattern.upload_in("abd", name) is None
    for other in (name.replace("abc", "abd"), name.replace("-12-", "-x-"), name.replace("-3", "")):
        assert pattern.upload_in("abc", other) is None, other


def test_the_default_gives_the_names_it_always_gave() -> None:
    assert TemporaryPattern(DEFAULT).path(upload_id("abc", 12, 3), "S1.csv") == ".abc-12-3.part"
    for other in (".abd-12-3.part", ".abc-12-3.part.txt", "abc-12-3.part", ".abc-12.part", ".abc-x-1.part"):
        assert TemporaryPattern(DEFAULT).upload_in("abc", other) is None, other


def test_a_long_name_is_cut_to_what_fits_and_no_character_in_half() -> None:
    pattern = TemporaryPattern("tmp/{id}.{name}")
    for name in ("x" * 255, "é" * 127, "x\udcff" * 127):
        given = pattern.path(upload_id("abcdefgh", 12, 3), name).partition("/")[2]
        assert len(os.fsencode(given)) <= 255
        assert pattern.upload_in("abcdefgh", given) == (12, 3)
        if "\udcff" not in name:
            given.encode()


def test_none_has_no_names() -> None:
    assert TemporaryPattern("none").path(upload_id("abc", 1, 1), "S1.csv") == ""
    assert TemporaryPattern("none").upload_in("abc", "none") is None
