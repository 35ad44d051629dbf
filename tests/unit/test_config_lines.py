"""Every key of a TOML text is found on its line."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.config.lines import key_lines, line_of

TEXT = '''\
# a comment with [brackets] and = signs
state = "var"   # trailing
"odd key" = 'single # no comment'

[console]
listen = ""

[ route . "in.ventory" ]
title = """
[not.a.table]
key = "inside"
"""
source = { endpoint = "inbox", folder = 'x', match = [
    "A*",   # first
    "B*",
] }
retry.first = "5s"
dated = 2026-11-23 07:32:00

[[layout.x.stocks]]
each = "a"

[[layout.x.stocks]]
each = "b"
[layout.x.stocks.deep]
key = 1
[layout.x]
fields = [{ name = "A", at = 1 },
          { name = "B", at = 7 }]
raw = \'\'\'
it''s = 1\'\'\'
last = true
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("state",), 2),
        (("odd key",), 3),
        (("console",), 5),
        (("console", "listen"), 6),
        (("route",), 8),
        (("route", "in.ventory"), 8),
        (("route", "in.ventory", "title"), 9),
        (("route", "in.ventory", "source"), 13),
        (("route", "in.ventory", "source", "folder"), 13),
        (("route", "in.ventory", "source", "match", 0), 14),
        (("route", "in.ventory", "source", "match", 1), 15),
        (("route", "in.ventory", "retry", "first"), 17),
        (("route", "in.ventory", "dated"), 18),
        (("layout", "x", "stocks", 0, "each"), 21),
        (("layout", "x", "stocks", 1), 23),
        (("layout", "x", "stocks", 1, "each"), 24),
        (("layout", "x", "stocks", 1, "deep", "key"), 26),
        (("layout", "x"), 27),
        (("layout", "x", "fields", 0, "at"), 28),
        (("layout", "x", "fields", 1, "name"), 29),
        (("layout", "x", "last"), 32),
    ],
)
def test_a_key_is_found_on_its_line(path, line):
    assert key_lines(TEXT)[path] == line


def test_the_text_of_the_test_is_toml_and_every_key_of_it_is_found():
    assert set(key_lines(TEXT)) == set(_paths(tomllib.loads(TEXT)))


def test_windows_line_ends_do_not_count_twice():
    assert key_lines("a = 1\r\nb = '''\r\nx'''\r\nc = 3\r\n")[("c",)] == 4


def test_a_missing_key_gets_the_line_of_the_table_around_it():
    lines = key_lines("[route.a]\ntitle = 'x'\n")
    assert line_of(lines, ("route", "a", "source", "endpoint")) == 1
    assert line_of(lines, ("store", "main")) == 0


KEYS = st.text(st.characters(codec="utf-8", exclude_characters='\\"', exclude_categories=["C"]), max_size=6)
LEAVES = st.one_of(st.booleans(), st.integers(), st.text(st.characters(codec="ascii", categories=["L", "P", "S"])))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_whatever_the_values_are_each_top_key_is_on_its_own_line_and_all_inner_keys_are_found(document):
    text = "".join(f"{_quoted(key)} = {_toml(value)}\n" for key, value in document.items())
    assert tomllib.loads(text) == document
    lines = key_lines(text)
    assert [lines[(key,)] for key in document] == list(range(1, len(document) + 1))
    assert set(lines) == set(_paths(document))


def _paths(value: Any, above: tuple[str | int, ...] = ()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from _paths(inner, (*above, key))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return _quoted(value.replace("\\", "\\\\").replace('"', '\\"'))
    return str(value).lower()


def _quoted(key: str) -> str:
    return f'"{key}"'
