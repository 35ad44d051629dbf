"""LIST as servers in the field print it: every habit is read, every line that may be a file is given back."""

from __future__ import annotations

import pytest

from cegid_daemon.endpoints.ftp_list_formats import chosen, parse_list
from cegid_daemon.endpoints.ftp_listing import Entry

UNIX = b"-rw-r--r--    1 0        0             309 %b STOCK.csv"

# One file STOCK.csv of 309 bytes, as many servers as there are lines.
HABITS = [
    b"-rwxrwxr-x    1 cegid    Domain Users      309 Nov 18 10:26 STOCK.csv",
    b"-rwxrwxr-x    1 SHOP\\cegid user BUILTIN\\Domain Users 12  309 Nov 18 10:26 STOCK.csv",
    b"-rw-r--r--    1 owner      309 Nov 18 10:26 STOCK.csv",
    b"-rw-r--r--    309 Nov 18 10:26 STOCK.csv",
    b"-rw-r--r--+   1 1001 12 309 Nov 18 10:26 STOCK.csv",
    b"-rw-r--r--@   1 1001 12 309 Nov 18 10:26 STOCK.csv",
    b"-rwsr-Sr-t.   1 1001 12 309 Nov 18 10:26 STOCK.csv",
    b"  4711    4 -rw-r--r--    1 0        0             309 Nov 18 10:26 STOCK.csv",
    b"-------r--         326      309      635 Nov 18  2026 STOCK.csv".replace(b"309      635", b"635      309"),
    b"-rw-r--r--\\t1\\t0\\t0\\t309\\tNov 18 10:26\\tSTOCK.csv".replace(b"\\t", b"\t"),
    UNIX % b"nov. 18 10:26",
    UNIX % b"18 nov. 10:26",
    UNIX % b"18 Nov 10:26",
    UNIX % b"18. Nov 10:26",
    UNIX % b"18 Nov  2026",
    UNIX % b"Nov 18 10:26:40",
    UNIX % b"Nov 18 10.26",
    UNIX % b"Nov 18 10h26",
    UNIX % b"Nov 18 2026 10:26",
    UNIX % b"Nov 18 2026 10:26:40",
    UNIX % b"Nov11 18 10:26",
    UNIX % b"11-18 10:26",
    UNIX % b"11/18 10:26",
    UNIX % b"11-18 2026",
    UNIX % b"11 18 10:26",
    UNIX % b"18-Nov-2026 10:26",
    UNIX % b"18-nov-26 10:26:40",
    UNIX % b"2026-11-18 10:26",
    UNIX % b"2026-11-18",
    UNIX % b"2026-11-18T10:26:40",
    UNIX % b"2026-11-18 10:26:40.000000000 +0100",
    UNIX % b"18.11.2026 10:26",
    UNIX % b"11/18/2026 10:26AM",
    UNIX % "11月 18 10:26".encode(),
    UNIX % "11月18日 10:26".encode(),
    UNIX % "11월 18 10:26".encode(),
    UNIX % "11月 18 10:26".encode("gbk"),
    b"11/18/2026  10:26                  309 STOCK.csv",
    b"18/11/2026  10:26                  309 STOCK.csv",
    b"11/18/26  10:26AM                  309 STOCK.csv",
    b"18.11.2026  10:26                  309 STOCK.csv",
    b"2026-11-18  10:26                  309 STOCK.csv",
    b"2026/11/18  10:26:40               309 STOCK.csv",
    b"11-18-26  10:26AM                  309 STOCK.csv",
    b"11-18-26  10:26 a.m.               309 STOCK.csv",
    b"18-11-2026  22.26                  309 STOCK.csv",
    b"CEGID               309 11/18/26 10:26:40 *STMF      STOCK.csv",
    b"CEGID               309 18.11.26 10:26:40 *STMF      STOCK.csv",
    b"CEGID               309 26/11/18 10:26:40 *DOC       STOCK.csv",
    b"- [R----F--] supervisor      309    Nov 18 10:26    STOCK.csv",
    b"-[RWCEAFMS] 1 supervisor     309    Nov 18  2026    STOCK.csv",
    b"+i4711,m1794997600,r,s309,\tSTOCK.csv",
    b"+r,s309,\tSTOCK.csv",
    b"type=file;size=309;modify=20261118102640; STOCK.csv",
]
MONTHS = """
    Jan Feb Mar Apr May Jun Jul Aug Sep Sept Oct Nov Dec Jän Mär Mrz März Mai Juni Juli Okt Dez Dezember
    janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc. novembre
    ene feb mar abr may jun jul ago sept. oct nov dic gen mag giu lug set ott fev mai out dez mrt mei aug okt
    sty lut kwi maj cze lip sie wrz paź lis gru led úno bře dub kvě čvn čvc srp zář říj pro márc. ápr. máj. jún. szept.
    tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu ian. iun. iul.
    янв фев мар апр мая июн июл авг сен окт ноя дек јан мај септембра
    Ιαν Φεβ Μαρ Απρ Μαΐ Ιούν Ιούλ Αύγ Σεπ Οκτ Νοε Δεκ Oca Şub Nis Haz Tem Ağu Eyl Eki Kas Ara
"""


def read(*lines: bytes) -> list[tuple[bytes, int, bool]]:
    parsed = parse_list(b"".join(line + b"\r\n" for line in lines))
    assert parsed.unread == []
    return [(entry.name, entry.identity.size, entry.regular) for entry in parsed.entries]


@pytest.mark.parametrize("line", HABITS)
def test_every_habit_is_read(line: bytes) -> None:
    assert read(line) == [(b"STOCK.csv", 309, True)]
    assert read(b"total 12", line, line.replace(b"STOCK", b"a b (1)")) == [
        (b"STOCK.csv", 309, True),
        (b"a b (1).csv", 309, True),
    ]


@pytest.mark.parametrize("month", MONTHS.split())
def test_months_are_words_of_any_language_in_any_encoding(month: str) -> None:
    for encoding in ("utf-8", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254"):
        if (word := month.encode(encoding, "ignore")) and len(word) > 2:
            for moment in (b"%b 18 10:26", b"18 %b 10:26", b"%b 18  2026", b"%b  8 10:26"):
                assert read(UNIX % (moment % word)) == [(b"STOCK.csv", 309, True)]


def test_list_as_unix_prints_it() -> None:
    body = (
        b"total 12\r\n"
        b"drwxr-xr-x    2 0        0            4096 Nov 23 09:14 .\r\n"
        b"-rw-r--r--    1 0        0               5 Nov 23 09:14 a b.csv\r\n"
        b"-rw-r--r--    1 0        0               1 Nov 23 09:14  lead\r\n"
        b"-rw-r--r--+   1 ftp      some group      1 Sep 09  2001 old\r\n"
        b"drwxr-xr-x    2 0        0            4096 Nov 23 09:14 d\r\n"
        b"lrwxrwxrwx    1 0        0               7 Nov 23 09:14 link -> a b.csv\r\n"
        b"prw-r--r--    1 0        0               0 Nov 23 09:14 fifo\r\n"
        b"-rw-r--r--    1 0        0               1 Nov 23 09:14 two\nlines\r\n"
        b"-rw-r--r--    1 0        0              77 2026-11-23 09:14 iso\r\n"
        b"-rw-r--r--    1 0        0               2 Nov 23 09:14 a -> b.csv\r\n"
    )
    assert read(*body.removesuffix(b"\r\n").split(b"\r\n")) == [
        (b"a b.csv", 5, True),
        (b" lead", 1, True),
        (b"old", 1, True),
        (b"d", 4096, False),
        (b"link", 7, False),
        (b"fifo", 0, False),
        (b"two\nlines", 1, True),
        (b"iso", 77, True),
        (b"a -> b.csv", 2, True),
    ]


def test_list_as_windows_prints_it() -> None:
    assert read(
        b"11-23-26  09:14AM       <DIR>          sub folder",
        b"11-23-2026  21:14             1234 a b.csv",
        b"11/23/2026  21:14             1.234.567 b.csv",
        b"11-23-26  09:14AM       <JUNCTION>     away [C:\\data]",
    ) == [
        (b"sub folder", 0, False),
        (b"a b.csv", 1234, True),
        (b"b.csv", 1234567, True),
        (b"away [C:\\data]", 0, False),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"total 12",
        b"total 1.2M",
        b"insgesamt 12",
        "итого 12".encode(),
        b"Total of 3 Files, 9 Blocks.",
        b" ",
        b"drwxr-x--- something that is not understood",
        b"brw-rw----    1 0        6           8,   0 Nov 23 09:14 sda",
        b"lrwxrwxrwx what",
        b"d [R----F--] supervisor whatever",
        b"CEGID    *DIR       sub/",
        b"+i8388621,m824255907,/,\tfolder",
        b"11-23-26  <DIR> odd",
        b"               3 File(s)            927 bytes",
        b"               1 Datei(en),           309 Bytes",
        b"2 Files found.",
        b"1 file",
        b"               3 Datei(en)          927 Bytes",
        b" Directory of C:\\exchange",
        b"No files found.",
        b"type=cdir;modify=20261123120000; .",
    ],
)
def test_totals_headings_folders_and_links_are_known_and_no_fault(line: bytes) -> None:
    parsed = parse_list(line + b"\r\n")
    assert parsed.unread == []
    assert not any(entry.regular for entry in parsed.entries)


@pytest.mark.parametrize(
    "line",
    [
        b"STOCK.CSV;1                1/3       18-NOV-2026 10:26:40  [CEGID,SHOP] (RWED,RWED,RE,)",
        b"  WYOSPT 3420   2026/11/18  1  200  FB      80  8053  PS  STOCK.CSV",
        b"-rw-r--r--    1 0        0             309 yesterday STOCK.csv",
        b"-rw-r--r--    1 0        0             33.5k Nov 18 10:26 STOCK.csv",
        b"STOCK.csv 309",
        b"STOCK.csv",
        b"309 STOCK(1).csv",
        b"+i4711,m1794997600,r,\tSTOCK.csv",
        b"CEGID *MEM STOCK.MBR",
        b"ls: STOCK.csv: Permission denied",
    ],
)
def test_a_line_that_may_be_a_file_and_is_not_understood_is_given_back(line: bytes) -> None:
    assert parse_list(b"total 2\r\n" + line + b"\r\n" + HABITS[0] + b"\r\n").unread == [line]
    assert parse_list(line + b"\r\n").unread == [line]


# names


def only(*lines: bytes) -> list[Entry]:
    return parse_list(b"".join(line + b"\r\n" for line in lines)).entries


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (UNIX % b"Nov 18 2026 ", b" STOCK.csv"),
        (UNIX % b"Nov 18 10:26 2026", b"2026 STOCK.csv"),
        (b"11-18-26  10:26AM                  309  STOCK.csv", b" STOCK.csv"),
        (b"- [R----F--] supervisor      309    Nov 18 10:26    STOCK.csv", b"   STOCK.csv"),
    ],
)
def test_where_a_name_begins_is_left_open_where_the_columns_do(line: bytes, other: bytes) -> None:
    (entry,) = only(line)
    assert entry.name == b"STOCK.csv"
    assert other in entry.other_names
    assert chosen(entry, [b"STOCK.csv", b"x"]).name == b"STOCK.csv"
    assert chosen(entry, [other]).name == other
    assert chosen(entry, [b"x"]).name == b"STOCK.csv"
    assert chosen(entry, [other]).other_names == ()


def test_blanks_that_every_line_has_are_the_server_s_and_more_are_the_name_s() -> None:
    line = b"11-18-26  10:26AM                  309  %b"
    assert [entry.name for entry in only(line % b"a.csv", line % b" b.csv")] == [b"a.csv", b" b.csv"]
    plain = UNIX.replace(b"STOCK.csv", b"%b") % (b"Nov 18 10:26", b"%b")
    assert [entry.name for entry in only(plain % b"a.csv", plain % b" b.csv")] == [b"a.csv", b" b.csv"]
    assert only(plain % b"a.csv")[0].other_names == ()


def test_a_year_behind_the_time_is_one_only_if_every_line_has_it() -> None:
    line = UNIX.replace(b"STOCK.csv", b"%b") % (b"Nov 18 10:26", b"%b")
    names = [entry.name for entry in only(line % b"2026 a.csv", line % b"2025 b.csv")]
    assert names == [b"a.csv", b"b.csv"]
    names = [entry.name for entry in only(line % b"2026 a.csv", line % b"b.csv")]
    assert names == [b"2026 a.csv", b"b.csv"]


def test_a_long_listing_is_read_quickly_and_hostile_lines_too() -> None:
    lines = [UNIX.replace(b"STOCK", b"S%d" % number) % b"Nov 18 10:26" for number in range(10_000)]
    assert len(read(*lines)) == 10_000
    for hostile in (b"-rw-r--r-- " + b"1 " * 20_000, b"-rw-r--r--" + b" " * 20_000, b"1" * 20_000, b"1,1" * 9_000):
        parse_list(hostile + b"\r\n")
