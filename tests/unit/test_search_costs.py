"""Searches and masks that are written to be expensive: time stays in proportion, whatever stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegid_daemon import masks
from cegid_daemon.journal.search import Search
from cegid_daemon.journal.words import words_in
from cegid_daemon.masks import Masks
from tests.properties.costs import cpu_seconds, is_linear
from tests.unit.test_journal_words import Room

LONG = 200_000


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """A journal with keys, one of them as long as a sender likes."""
    room = Room(tmp_path / "journal.db")
    room.add(1, b"alpha beta")
    with room.connection.transaction():
        room.search.enqueue(1, ["a" * 300_000, "A" * 900, "ab" * 40, "order-1"])
    while room.search.index_slice():
        pass
    while room.search.words.index_slice():
        pass
    return room.search


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000, "a" * LONG, "ab" * LONG, '"' * LONG, "a OR " * LONG, "NEAR(a b) " * LONG, "a* " * LONG,
        "%_" * LONG, "é" * LONG, "alpha " * LONG, "^-:(){}" * LONG, "a\0b\0" * LONG, "\0", "abc\0d", "\ud800abc" * 9,
        "(" * LONG, "{a b}: c", "key : x", "-alpha", "alpha NOT beta",
    ],
    ids=range(20),
)  # fmt: skip
def test_a_search_answers_at_once_whatever_is_asked(search: Search, text: str) -> None:
    assert cpu_seconds(lambda: search.find(text)) < 2
    assert cpu_seconds(lambda: list(search.scan(text, go_on=lambda _messages, _size: True))) < 2


def test_a_long_text_is_found_in_a_key_from_its_first_to_its_last_character(search: Search) -> None:
    assert [hit.how for hit in search.find("b" + "ab" * 35)] == ["part"]
    assert [hit.how for hit in search.find("ab" * 40)] == ["exact"]
    assert search.find("b" + "ab" * 35 + "c") == []
    assert search.find("a" * 2_000) == []  # so long a value is no key


def test_folding_words_takes_time_in_proportion_to_the_text() -> None:
    assert is_linear(lambda size: "é\u0301\u0323" * size, words_in, 10_000)
    assert is_linear(lambda size: "a_" * size, words_in, 50_000)


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        ("*a*a*a*a*a*a*a*a*b", "a" * 255), ("*" * 200 + "b", "a" * 255), ("*a" * 100 + "b", "a" * 255),
        ("*[a-b]*[a-c]*[!x]*[a]*c", "ab" * 127), ("*?*?*?*?*?*?*?*?*?*b", "a" * 255), ("*aa*aab*ab*b*c", "aab" * 85),
        ("[" * 5000, "[" * 255), ("*" + "[a-z]" * 250 + "*0", "a" * 255),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_mask_costs_nothing_to_compare(mask: str, name: str) -> None:
    taken = Masks(match=(mask,), ignore=(mask + "x",))
    assert cpu_seconds(lambda: [taken.takes(name) for _ in range(50)]) < 1
    assert cpu_seconds(lambda: masks.meet(Masks((name,), ("*.x",)), Masks(("*",), (mask.replace("?", "a"),)))) < 1
