"""What FTP servers print, and when a time of theirs needs no second question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.endpoints.ftp_list_formats import parse_list
from cegid_daemon.endpoints.ftp_listing import Entry, Parsed, mlst, parse_mlsd, time_ns
from cegid_daemon.endpoints.ftp_times import Times
from cegid_daemon.model import Identity

NOON_NS = 1_795_435_200 * 10**9  # 2026-11-23T12:00:00Z


def test_times_are_utc_with_or_without_fractions() -> None:
    assert time_ns(b"20261123120000") == NOON_NS
    assert time_ns(b"20261123120000.25") == NOON_NS + 250_000_000
    for text in (b"", b"yesterday", b"20261323120000", b"2026112312000"):
        assert time_ns(text) == 0


def test_mlsd_tells_kind_size_time_and_what_is_unique() -> None:
    body = (
        b"type=cdir;modify=20261123120000; .\r\n"
        b"Type=file;Size=5;Modify=20261123120000;Unique=801g4; a b.csv\r\n"
        b"type=dir;modify=20261123120000; sub\r\n"
        b"type=OS.unix=slink:/etc/passwd;size=7; link\r\n"
        b"size=6; plain; name\r\n"
        b"nonsense\r\n"
    )
    parsed = parse_mlsd(body)
    entries = {entry.name: entry for entry in parsed.entries}
    assert parsed.unread == [b"nonsense"]
    assert list(entries) == [b"a b.csv", b"sub", b"link", b"plain; name"]
    assert [entry.regular for entry in entries.values()] == [True, False, False, True]
    assert entries[b"a b.csv"].identity.size == 5
    assert entries[b"a b.csv"].identity.mtime_ns == NOON_NS
    assert entries[b"a b.csv"].identity.inode != 0
    assert entries[b"plain; name"].identity == Identity(6)


def test_a_file_that_took_another_s_place_is_told_by_what_is_unique() -> None:
    one, other = (mlst(b"type=file;size=5;modify=20261123120000;unique=%b; a" % unique) for unique in (b"1", b"2"))
    assert one is not None
    assert other is not None
    assert not one.identity.same_file(other.identity)


@given(st.binary(max_size=200))
def test_no_listing_makes_the_reader_stumble(body: bytes) -> None:
    assert isinstance(parse_mlsd(body).entries, list)
    assert isinstance(parse_list(body).entries, list)


# times


class Server:
    """A server with one file, a clock, and a count of questions."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.questions = 0
        self.mtime = 7
        self.times = Times(lambda: self.now)

    def ask(self, names: Sequence[bytes]) -> list[int]:
        self.questions += len(names)
        return [self.mtime] * len(names)

    def listing(self, size: int = 5, stamp: bytes = b"Nov 23 09:14") -> Identity:
        [entry] = self.times.complete("in", [Entry(b"a", Identity(size), True, stamp)], self.ask)
        return entry.identity


def test_a_time_is_asked_for_until_it_is_sure() -> None:
    server = Server()
    assert server.listing() == Identity(5, 7)
    server.now += 119
    server.mtime = 8  # written again within the minute that LIST prints
    assert server.listing() == Identity(5, 8)
    server.now += 1
    server.listing()
    assert server.questions == 3
    server.now += 10_000
    assert server.listing() == Identity(5, 8)
    assert server.questions == 3


@pytest.mark.parametrize("change", [{"size": 6}, {"stamp": b"Nov 23 09:20"}])
def test_any_change_in_the_listing_asks_anew(change: dict[str, object]) -> None:
    server = Server()
    for _ in range(2):
        server.listing()
        server.now += 200
    server.mtime = 9
    assert server.listing(**change).mtime_ns == 9  # type: ignore[arg-type]


def test_a_name_that_was_renamed_to_is_asked_for_anew() -> None:
    server = Server()
    for _ in range(2):
        server.listing()
        server.now += 200
    assert server.times.lists_as_file("in", b"a")
    server.times.forget("in", b"a")
    assert not server.times.lists_as_file("in", b"a")
    server.mtime = 9
    assert server.listing().mtime_ns == 9


def test_odd_things_and_unsayable_names_are_never_asked_for() -> None:
    server = Server()
    odd = [Entry(b"d", Identity(0), False, b"x"), Entry(b"a\nb", Identity(1), True, b"x")]
    assert server.times.complete("in", odd, server.ask) == odd
    assert server.questions == 0


def test_only_wanted_names_are_asked_for_and_what_another_source_learned_stays() -> None:
    server = Server()
    entries = [Entry(b"a", Identity(1), True, b"x"), Entry(b"b", Identity(1), True, b"x")]

    def listing(*wanted: bytes) -> list[int]:
        found = server.times.complete("in", entries, server.ask, lambda one: one.name in wanted)
        return [one.identity.mtime_ns for one in found]

    assert listing(b"a") == [7, 0]
    assert server.questions == 1
    assert listing(b"b") == [7, 7]
    server.now += 200
    assert listing(b"a") == [7, 7]
    assert listing(b"b") == [7, 7]
    before = server.questions
    for wanted in (b"a", b"b", b"a"):
        assert listing(wanted) == [7, 7]
    assert server.questions == before


@pytest.mark.parametrize("parse", [parse_mlsd, parse_list])
def test_a_size_that_no_file_has_is_a_line_that_is_not_understood(parse: Callable[[bytes], Parsed]) -> None:
    huge = b"type=file;size=" + b"9" * 31 + b"; S1.csv"
    found = parse(huge + b"\r\ntype=dir;size=-1; processed\r\ntype=file;size=3; S2.csv\r\ntype=cdir;size=1; .\r\n")
    assert [(one.name, one.regular) for one in found.entries] == [(b"processed", False), (b"S2.csv", True)]
    assert found.unread == [huge]
    assert found.has_sizes


def test_a_server_that_tells_minus_one_tells_no_sizes() -> None:
    assert not parse_mlsd(b"type=file;size=-1; S1.csv\r\ntype=file;size=3; S2.csv\r\n").has_sizes
