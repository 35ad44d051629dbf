"""Whatever a server lists is read or reported, in a time that grows with its length: no exception, no endless look."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cegid_daemon.endpoints.ftp_list_formats import parse_list
from cegid_daemon.endpoints.ftp_listing import Parsed, mlst, parse_mlsd, time_ns

LARGEST = 1 << 63  # what a database keeps
PARTS = [
    b"-rw-r--r--", b"drwxr-xr-x", b" 1 o g ", b" ", b"12", b"9" * 20, b"9" * 5000, b" Jan 12 10:00 ", b"2026-11-23",
    b"01-01-20 10:00AM ", b"<DIR>", b"*STMF ", b"+r,s", b",i1.2,/,\t", b"type=file;", b"size=", b"-5;", b"modify=",
    b"00000101000000;", b"99991231235959.999999999;", b"unique=", b"\r\n", b"\n", b"\r", b"\0", b"../", b"/", b"a.csv",
    b" -> x", b"total 1", b"\xff", b"\xc2\xb2", b"[R----F--]", b"=", b";",
]  # fmt: skip
LISTINGS = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=12)), max_size=24).map(b"".join)


def check(parsed: Parsed) -> None:
    for entry in parsed.entries:
        assert 0 <= entry.identity.size < LARGEST
        assert -LARGEST < entry.identity.mtime_ns < LARGEST


@settings(deadline=None, max_examples=400)
@given(LISTINGS)
@example(b"type=file;size=" + b"9" * 5000 + b"; S1.csv")
@example(b"type=file;size=1;modify=99991231235959; S1.csv")
@example(b"type=file;size=1;modify=00010101000000; S1.csv")
@example(b"-rw-r--r-- 1 o g 99999999999999999999 Jan 12 10:00 S1.csv")
@example(b"+r,s" + b"9" * 5000 + b",\tS1.csv")
@example(b"01-01-20 10:00AM " + b"999." * 500 + b"999 S1.csv")
def test_no_listing_makes_it_fall(body: bytes) -> None:
    check(parse_list(body))
    check(parse_mlsd(body))
    for line in body.split(b"\n"):
        mlst(line)
    time_ns(body)


HEADS = (b"-rw-r--r-- 1 o g ", b"-rw-r--r-- ", b"", b"+", b"01-01-20 10:00AM ", b"QSYS 1 ", b"-[RW----] ", b" " * 40)
UNITS = (
    b" ", b"1 ", b"1 Jan ", b"1 Jan 1 ", b"a ", b"1,", b"1.111", b"=;", b"a=b;", b"12 Jan 10:00 ", b"\xff", b"1\xff",
    b"2020 ", b"a", b"1", b"\t", b"- ", b"<a", b"no files", b"x(a), 1 ", b" volume ", b"<DIR>", b"1 2020-01-01 ",
)  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_no_line_takes_long(head: bytes) -> None:
    for unit in UNITS:
        line = (head + unit * 2000)[:2000]
        begun = time.process_time()
        for ending in (b"", b"!", b"\r\r"):
            parse_list(line + ending)
        assert time.process_time() - begun < 1, (head, unit)
    begun = time.process_time()
    parse_list(head + b"1 " * 1_000_000)
    assert time.process_time() - begun < 1
