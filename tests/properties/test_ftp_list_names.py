"""Whatever a file is called, and whoever lists it: its name is among those the line may mean, and its size is right."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cegid_daemon.endpoints.ftp_list_formats import parse_list
from tests.unit.test_ftp_list_formats import HABITS

_TIME = re.compile(rb"[ \t]*\d{1,2}[:.h]\d\d")


def _is_name(name: bytes) -> bool:
    return name.strip(b" \t") not in {b"", b".", b".."} and not set(name) & set(b"\r\n\0/") and not _TIME.match(name)


# Not: a name that begins with a time of day, behind a year or a date. It is listed wrongly, denied, and told.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.text(" 0123456789:-/.JanNov2026>", min_size=1, max_size=30).map(str.encode),
).filter(_is_name)


@pytest.mark.parametrize("line", HABITS)
@settings(max_examples=30, deadline=None)
@given(name=NAMES)
def test_a_name_is_among_those_its_line_may_mean(line: bytes, name: bytes) -> None:
    parsed = parse_list(line.replace(b"STOCK.csv", name) + b"\r\n")
    assert parsed.unread == []
    (entry,) = parsed.entries
    assert name in {entry.name, *entry.other_names} or len(name) - len(name.lstrip(b" \t")) > 8
    assert (entry.identity.size, entry.regular) == (309, True)


@settings(deadline=None)
@given(name=NAMES)
def test_a_usual_line_means_the_name_that_stands_there(name: bytes) -> None:
    plain = b"-rw-r--r--    1 0        0             309 Nov 18 10:26 "
    body = plain + b"a.csv\r\n" + plain + name + b"\r\n"
    assert [entry.name for entry in parse_list(body).entries] == [b"a.csv", name]
