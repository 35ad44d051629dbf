"""Files that are laid out to be expensive: refused in plain words, or read in time that grows with their size only."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat

import pytest

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite import layouts, masking
from cegid_daemon.rewrite.layouts import Read, bounds, plain_xml, xml
from cegid_daemon.rewrite.masking import Fields, Values
from cegid_daemon.rewrite.masking.fields import starred
from cegid_daemon.rewrite.recipe import Field, Layout, Proof
from cegid_daemon.rewrite.tally import Tally
from tests.properties.costs import cpu_seconds, is_linear

XML = Layout("x", "xml", record="P")
CSV = Layout("d", "delimited", encoding="utf-8")
QUOTED = Layout("q", "delimited", quote='"', encoding="utf-8")
FIXED = Layout("f", "fixed", encoding="utf-8", fields=(Field("A", 1, 3),))
GROUPS = Layout("r", "records", types={"H": ("A",), "L": ("A",)}, encoding="utf-8")
MIB = 1024 * 1024


def count(layout: Layout, raw: bytes, read: Read = layouts.read, step: int = 4096) -> int:
    chunks = [raw[at : at + step] for at in range(0, len(raw), step)]
    found = read(layout, lambda: chunks, Tally())
    return sum(len(one) if read is plain_xml.read else 1 for one in found)  # type: ignore[arg-type]


def attributes(number: int, element: str = "P") -> bytes:
    inside = b" ".join(b"a%d='1'" % no for no in range(number))
    return b"<F><%s %s><A>1</A></%s></F>" % (element.encode(), inside, element.encode())


@pytest.mark.parametrize("read", [layouts.read, plain_xml.read])
def test_an_element_with_attributes_without_number_is_refused_and_costs_no_time(read: Read) -> None:
    hostile = attributes(50_000)

    def reading() -> None:
        with pytest.raises(BadInput, match=r"<P> has too many attributes.*line 1.*over 500 attributes.*Ask the sender"):
            count(XML, hostile, read, 65536)

    assert cpu_seconds(reading) < 2  # by the square they took 15 s
    assert count(XML, attributes(500), read) == 1


def test_attributes_of_an_inner_record_are_bounded_too() -> None:
    records = layouts.read(XML, lambda: [b"<F><P>" + attributes(501, "V") + b"</P></F>"], Tally())
    with pytest.raises(BadInput, match="<V> has too many attributes"):
        next(records).each("F/V")


@pytest.mark.parametrize("kind", ["elements", "bytes"])
def test_a_record_of_xml_without_end_is_refused_before_it_fills_the_memory(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_ELEMENTS", 50_000)
    monkeypatch.setattr(bounds, "LONGEST_RECORD", MIB)
    inside = b"<a/>" * 1000 if kind == "elements" else b"<a>%s</a>" % (b"x" * 60_000)
    given = 0

    def endless() -> Iterator[bytes]:
        nonlocal given
        yield b"<F>\n<P>"
        for piece in repeat(inside):
            given += len(piece)
            yield piece

    with pytest.raises(BadInput, match=r"a record of the XML is too large.*line 2"):
        list(layouts.read(XML, endless, Tally()))
    assert given < 2 * MIB


def test_many_records_and_much_beside_them_are_no_record_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_ELEMENTS", 2_000)
    raw = b"<F>" + b"<x>1</x>" * 20_000 + b"<P><A>1</A></P>" * 20_000 + b"<x>1</x>" * 20_000 + b"</F>"
    assert count(XML, raw) == 20_000


def test_new_fields_in_each_record_do_not_make_a_pattern_each() -> None:
    raw = b"<F>%s</F>" % b"".join(b"<P><a%d>1</a%d></P>" % (no, no) for no in range(600))
    assert cpu_seconds(lambda: count(XML, raw, plain_xml.read, 65536)) < 4  # it took 12 s, however few they were
    assert count(XML, raw, plain_xml.read) == 600


def test_names_of_elements_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_NAMES", 100)
    for name in range(300):
        count(XML, b"<F><P><b%d/></P></F>" % name)
    assert len(xml._NAMES) <= 100
    with pytest.raises(BadInput, match=r"too many names of elements.*over 100 of them"):
        count(XML, b"<F>%s</F>" % b"".join(b"<P><c%d/></P>" % no for no in range(1_000)))


@pytest.mark.parametrize(
    ("layout", "raw", "said"),
    [
        (CSV, b";".join(b"c%d" % no for no in range(10_001)), "title row has too many columns.*over 10,000 columns"),
        (CSV, b"A;B\n" + b";" * 1_000_000, r"a row has too many columns \(line 2\)"),
        (CSV, b"A;B\n1;2\n" + b"a" * 5_000_000, r"a line never ends \(line 3\)"),
        (FIXED, b"abc\n" + b"a" * 5_000_000, r"a line never ends \(line 2\)"),
        (CSV, b"A;B\n" + (b" " * 1_000_000 + b"\n") * 9, "the file is mostly blank lines"),
        (QUOTED, b'A;B\n"' + b"a\n" * 1_000_000, r"a quoted row is broken \(line 2\).*may not be closed"),
        (QUOTED, b"A;B\n" + b'"%s\n";' % (b"a" * 99) * 50_000, r"a quoted row never ends \(line 2\)"),
        (GROUPS, b"H;1\n" + b"L;2\n" * 100_001, r"a record has too many rows \(line 1\): over 100,000 rows"),
    ],
    ids=["titles", "separators", "line", "fixed", "blank", "open-quote", "quoted-row", "group"],
)  # fmt: skip
def test_text_without_end_is_refused_in_plain_words(layout: Layout, raw: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        count(layout, raw, step=65536)


def test_a_declared_count_is_looked_for_in_the_first_columns_of_its_line_only() -> None:
    layout = Layout("d", "delimited", encoding="utf-8", proof=Proof(trailer="END", count="r['2']"))
    raw = b"A;B\n1;2\nEND;1" + b";" * 4_000_000
    tracemalloc.start()
    assert count(layout, raw, step=65536) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * MIB  # a text a column took 800


@pytest.mark.parametrize("name", ["idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "UTF-7"])
def test_what_python_calls_an_encoding_and_no_file_is_written_in_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not known.*utf-8"):
        count(Layout("d", "delimited", encoding=name), b"A;B\n+ADw-;1\n")


@pytest.mark.parametrize(
    ("layout", "raw"),
    [
        (CSV, b";".join([b"c" * 1_000_000] * 2)), (CSV, b"A;B\n" + b"c" * 1_000_000),
        (XML, b"<%s><A/></%s>" % (b"F" * 40_000, b"F" * 40_000)), (XML, attributes(501).replace(b"P", b"n:P", 1)),
        (Layout("x", "xml", record="P", root="R"), b"<%s/>" % (b"F" * 40_000)), (GROUPS, b"c" * 1_000_000 + b";1"),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_fault_quotes_a_little_of_what_it_met(layout: Layout, raw: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        count(layout, raw, step=65536)
    assert len(str(caught.value)) < 600


COSTLY: dict[str, tuple[Layout, Callable[[int], bytes], int]] = {
    "children": (XML, lambda size: b"<F><P>%s</P></F>" % b"".join(b"<a%d/>" % no for no in range(size)), 5_000),
    "same children": (XML, lambda size: b"<F><P>" + b"<a>1</a>" * size + b"</P></F>", 5_000),
    "attributes": (XML, lambda size: b"<F>" + attributes(490)[3:-4] * size + b"</F>", 10),
    "namespaces": (XML, lambda size: attributes(size).replace(b" a", b" xmlns:a"), 5_000),
    "comments": (XML, lambda size: b"<F><P><A>" + b"<!-- a -->" * size + b"</A></P></F>", 10_000),
    "instructions": (XML, lambda size: b"<F><P><A>" + b"<?a b?>" * size + b"</A></P></F>", 10_000),
    "sections": (XML, lambda size: b"<F><P><A>" + b"<![CDATA[a]]>" * size + b"</A></P></F>", 10_000),
    "entities": (XML, lambda size: b"<F><P><A>" + b"&lt;" * size + b"</A></P></F>", 20_000),
    "one text": (XML, lambda size: b"<F><P><A>" + b"a" * size + b"</A></P></F>", 400_000),
    "open comment": (XML, lambda size: b"<F><P><!--" + b"a" * size, 400_000),
    "open tag": (XML, lambda size: b"<F><P " + b" " * size, 400_000),
    "new names": (XML, lambda size: b"<F>%s</F>" % b"".join(b"<P><a%d/></P>" % no for no in range(size)), 3_000),
    "one line": (CSV, lambda size: b"A;B\n" + b"a" * size, 1_000_000),
    "separators": (CSV, lambda size: b"A;B\n" + b";" * size, 200_000),
    "titles": (CSV, lambda size: b";".join(b"c%d" % no for no in range(size)) + b"\n" + b";" * (size - 1), 2_000),
    "quoted rows": (QUOTED, lambda size: b"A;B\n" + b'"\n\n\n";"\n\n\n"\n' * size, 5_000),
    "quoted row": (QUOTED, lambda size: b"A;B\n" + b'"\n";' * size, 50_000),
    "group": (GROUPS, lambda size: b"H;1\n" + b"L;2\n" * size, 10_000),
}  # fmt: skip


@pytest.mark.parametrize("costly", COSTLY)
def test_reading_takes_time_in_proportion_to_the_size(costly: str) -> None:
    layout, make, size = COSTLY[costly]
    assert is_linear(make, lambda raw: count(layout, raw, step=1024), size)


@pytest.mark.parametrize("costly", [name for name, (layout, *_) in COSTLY.items() if layout.kind == "xml"])
def test_looking_for_plain_xml_costs_little(costly: str) -> None:
    layout, make, size = COSTLY[costly]
    raw = make(size)
    assert cpu_seconds(lambda: count(layout, raw, plain_xml.read, 1024)) < 3  # most of them take 20 ms


MASKED: dict[str, tuple[Layout, Callable[[int], bytes], int]] = {
    "attributes": (XML, attributes, 20_000),
    "name": (XML, lambda size: b"<%s A='1'/>" % (b"P" * size), 5_000),
    "blanks": (XML, lambda size: b"<%s%sA = '1'/>" % (b"P" * size, b" " * size), 5_000),
    "one text": (XML, lambda size: b"<P>" + b"a" * size + b"</P>", 400_000),
    "open tag": (XML, lambda size: b"<P " + b"a='1' " * size, 50_000),
    "one line": (CSV, lambda size: b"A;B\n" + b"a" * size, 1_000_000),
    "quoted cell": (QUOTED, lambda size: b'A;B\n"' + b"a\n" * size + b'";1\n', 5_000),
    "quotes in a cell": (QUOTED, lambda size: b'A;B\n"' + b'""\n' * size + b'";1\n', 5_000),
    "cells": (QUOTED, lambda size: b'"A"' + b';"B"' * size + b"\n" + b'"1"' + b';"2"' * size, 5_000),
}  # fmt: skip


@pytest.mark.parametrize("costly", MASKED)
def test_masking_takes_time_in_proportion_to_the_size(costly: str) -> None:
    layout, make, size = MASKED[costly]

    def mask(raw: bytes) -> None:
        chunks = [raw[at : at + 1024] for at in range(0, len(raw), 1024)]
        list(masking.received(layout, Fields.of(["A", "@A"]), lambda: chunks, Values()))

    assert is_linear(make, mask, size)


def test_masking_cuts_quoted_rows_where_reading_does() -> None:
    chance = random.Random(7)  # reproducible, no secret
    for _ in range(300):
        cells = ["".join(chance.choices('ab";\n', k=chance.randrange(6))) for _ in range(4)]
        rows = [cells[:2], cells[2:]]
        quoted = "\n".join(";".join('"' + one.replace('"', '""') + '"' for one in row) for row in rows)
        raw = f"A;B\n{quoted}\n".encode()
        values = Values()
        made = b"".join(masking.received(QUOTED, Fields.of(["B"]), lambda raw=raw: [raw], values))
        read = [(r["A"], r["B"]) for r in layouts.read(QUOTED, lambda made=made: [made], Tally())]
        assert read == [(one.strip(), starred(other).strip()) for one, other in rows]
