"""Whatever stands in files, layouts, expressions, templates, searches and masks: a documented fault, or a result.

The quick form of `make fuzz`,
which runs the same with more examples (`CEGID_DAEMON_FUZZ_EXAMPLES`) and seeds of its own.
What it once found stands here as an `@example`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cegid_daemon.errors import BadInput, ConfigurationError, MessageError, TemplateFault
from cegid_daemon.journal.search import Search
from cegid_daemon.masks import Masks
from cegid_daemon.rewrite import layouts, masking, templates
from cegid_daemon.rewrite.expressions import compile_condition, compile_number, compile_stock, compile_text, faults
from cegid_daemon.rewrite.layouts import plain_xml
from cegid_daemon.rewrite.masking import Fields, Values
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Field, Layout, Proof
from cegid_daemon.rewrite.record import AsItCame, Record
from cegid_daemon.rewrite.tally import Tally
from tests.properties.costs import cpu_seconds, is_linear
from tests.unit.test_journal_words import Room

EXAMPLES = int(os.environ.get("CEGID_DAEMON_FUZZ_EXAMPLES", "40"))
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
seldom = settings(fuzzed, max_examples=max(2, EXAMPLES // 20))
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECONDS = 3.0  # of CPU that one small example may take; most take a millisecond

# -- files ------------------------------------------------------------------------------------------------------------

ENCODINGS = st.sampled_from(["utf-8", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-7", "utf-32"])
NAMED = st.sampled_from(["auto", "utf-8", "cp1252", "utf-16", "ascii", "cp037", "utf-32", "hz", "idna", "undefined"])
XML_TOKENS = [
    "<P>", "</P>", "<P a='1'>", "<P/>", "<A>", "</A>", "<A x='&lt;'/>", "<G>", "</G>", "1", ",5", "é", "&amp;",
    "&b;", "&#0;",
    "&#x1F600;", "<!-- - -->", "<!--", "-->", "<![CDATA[", "]]>", "<?pi x?>",
    "<?xml version='1.0' encoding='utf-7'?>",
    "<!DOCTYPE F [<!ENTITY b 'c'>]>", "<n:P xmlns:n='u'>", "</n:P>", "xmlns='v'", "<A", "'", '"', "=", "/>", ">",
    "\r", "\n",
    "\0", " ", "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/passwd'/>", "<A><A>1</A></A>",
]  # fmt: skip
ROW_TOKENS = [
    "A;B",
    "1;2",
    ";",
    '"',
    '""',
    "\n",
    "\r\n",
    "\r",
    "\0",
    "END;1",
    "H;1",
    "L;2",
    " ",
    "é",
    "STK",
    "1,5",
    "\ufeff",
]
texts = st.one_of(
    st.lists(st.sampled_from(XML_TOKENS), max_size=25).map(lambda parts: "<F>" + "".join(parts) + "</F>"),
    st.lists(st.sampled_from(XML_TOKENS), max_size=25).map("".join),
    st.lists(st.sampled_from(ROW_TOKENS), max_size=40).map(lambda parts: "A;B\n" + "".join(parts)),
    st.text(max_size=80),
)
bodies = st.one_of(
    st.tuples(texts, ENCODINGS).map(lambda one: one[0].encode(one[1], "replace")),
    st.binary(max_size=120),
    st.tuples(texts, st.binary(max_size=8), st.integers(0, 200)).map(
        lambda one: one[0].encode("utf-8", "replace")[: one[2]] + one[1] + one[0].encode("utf-8", "replace")[one[2] :]
    ),
)
kept = st.sampled_from(["", '"', "'"])
some_layouts = st.one_of(
    st.builds(
        Layout, st.just("d"), st.just("delimited"), encoding=NAMED, quote=kept, header=st.booleans(),
        columns=st.sampled_from([(), ("A", "B")]), lead=st.integers(0, 2), decimal=st.sampled_from([".", ","]),
        proof=st.sampled_from([None, Proof(trailer="END", count="r['2']"), Proof(count="r['1']")]),
    ),
    st.builds(
        Layout, st.just("f"), st.just("fixed"), encoding=NAMED, head=st.sampled_from(["", "STK"]),
        lead=st.integers(0, 2),
        fields=st.just((Field("A", 1, 3), Field("B", 4, 5))),
    ),
    st.builds(Layout, st.just("r"), st.just("records"), encoding=NAMED, quote=kept, types=st.just({"H": ("A",),
    "L": ("A",)})),
    st.builds(
        Layout, st.just("x"), st.just("xml"), encoding=NAMED, record=st.sampled_from(["P", "G/P", "/F/P", "{u}P",
        "A"]),
        text=st.sampled_from(["", "all"]), root=st.sampled_from(["", "F"]),
        proof=st.sampled_from([None, Proof(count="r['@a']")]),
    ),
)  # fmt: skip


@fuzzed
@given(some_layouts, bodies, st.integers(1, 9))
@example(Layout("d", "delimited", encoding="undefined"), b"A;B\n1;2", 9)
@example(Layout("d", "delimited", encoding="idna"), b"A;B\n\xff;2", 9)
def test_a_file_gives_records_or_a_documented_fault(layout: Layout, raw: bytes, step: int) -> None:
    chunks = [raw[at : at + step] for at in range(0, len(raw), step)]

    def read() -> None:
        with suppress(BadInput, ConfigurationError):
            for record in layouts.read(layout, lambda: chunks, Tally()):
                with suppress(MessageError):
                    record.get("A"), list(record.each("L")), [str(value) for value in record.values()]
        if layout.kind == "xml":
            with suppress(BadInput, ConfigurationError):
                list(plain_xml.read(layout, lambda: chunks, Tally()))

    assert cpu_seconds(read) < SECONDS


@fuzzed
@given(some_layouts, bodies, st.integers(1, 9))
def test_what_can_be_read_can_be_masked_or_is_refused(layout: Layout, raw: bytes, step: int) -> None:
    chunks = [raw[at : at + step] for at in range(0, len(raw), step)]
    with suppress(BadInput, ConfigurationError):
        for _ in layouts.read(layout, lambda: chunks, Tally()):
            pass
        list(masking.received(layout, Fields.of(["A", "@a"]), lambda: chunks, Values()))


@seldom
@given(some_layouts, st.lists(st.sampled_from([*XML_TOKENS, *ROW_TOKENS]), min_size=1, max_size=4).map("".join))
def test_whatever_is_repeated_is_read_in_time_that_grows_with_its_size(layout: Layout, unit: str) -> None:
    start = "<F><P><A>" if layout.kind == "xml" else "A;B\nH;1\n"

    def read(raw: bytes) -> None:
        with suppress(MessageError):
            for _ in layouts.read(layout, lambda: [raw], Tally()):
                pass

    assert is_linear(lambda size: (start + unit * size).encode(), read, 5_000)


# -- expressions ------------------------------------------------------------------------------------------------------

EXPRESSION_TOKENS = [
    "r", ".A", "r.A", "r['B']", "r.parent", "r.raw", "r.each('x')", "+", "-", "*", "/", "//", "%", "**", "~", "(",
    ")", "[", "]",
    ",", ":", "|", "trim", "default", "replace", "max", "int", "float", "abs", "length", "center", "attr", "'a'",
    "''", "1",
    "0.5", "1e9", "1e999999999", "9999999999", "9" * 5000, "0x" + "f" * 200, " if ", " else ", " and ", " or ",
    " not ", " in ",
    " is ", "none", "true", "==", "<", ">=", "!=", ".upper()", ".strip('a')", ".__class__", "{", "}", "\\", "\0",
    "é", "\ud800",
    "range(9)", "loop", "self", "'%9999999d'", "|format(1)", "\n", "#", "{{", "}}", "-" * 400, "(" * 400,
    "+r.A" * 300,
]  # fmt: skip
expressions = st.lists(st.sampled_from(EXPRESSION_TOKENS), min_size=1, max_size=12).map("".join) | st.text(max_size=40)


@fuzzed
@given(expressions, st.sampled_from([None, ("A", "B")]), st.text(max_size=8))
@example("9" * 5000, None, "")
@example("r.A" + "+r.A" * 3000, None, "1")
@example("r.A in [1e999999999]", None, "1")
@example("r.A|default('x'|center(9999999999))", None, "1")
def test_an_expression_gives_a_value_or_a_documented_fault(text: str, columns: Any, value: str) -> None:
    layout = Layout("x", "delimited", sku=text, skip=(text,))
    record = Record(A=value, B="1,5")

    def work() -> None:
        faults(layout)
        for compiler in (compile_text, compile_number, compile_condition, compile_stock):
            with suppress(BadInput, ConfigurationError, TemplateFault):
                compiler(text, layout, columns)(record)

    assert cpu_seconds(work) < SECONDS


# -- templates --------------------------------------------------------------------------------------------------------

TEMPLATE_TOKENS = [
    "{% for r in records %}", "{% endfor %}", "{% if r.A %}", "{% else %}", "{% endif %}", "{% set x = r.A %}",
    "{% set x %}",
    "{% endset %}", "{% macro m(a) %}", "{% endmacro %}", "{{ m(1) }}", "{% call m() %}", "{% endcall %}",
    "{% block b %}",
    "{% endblock %}", "{% break %}", "{% continue %}", "{% include 't' %}", "{% extends 't' %}",
    "{% import 't' as i %}",
    "{% autoescape x %}", "{% endautoescape %}", "{% filter upper %}", "{% endfilter %}", "{% with a=1 %}",
    "{% endwith %}",
    "{% raw %}", "{% endraw %}", "{{ r.A }}", "{{ r.stock | decimal(2) }}", "{{ r.A | fit(1) }}", "{{ r.B | int }}",
    "{{ records | list }}", "{{ records | groupby('A') }}", "{{ records.rest() }}", "{{ x ~ x }}", "{{ loop.index }}",
    "{{ loop.nextitem }}", "{{ self.b() }}", "{{ super() }}", "{{ caller() }}", "{{ 1 / 0 }}", "{{ r|tojson }}",
    "{{ r.raw }}",
    "{{ '{0.x}'.format(r) }}", "{{ r | attr('x') }}", "{{ [] | first }}", "{{ now.strftime('%Y') }}", "{{", "}}",
    "{%", "%}",
    "{#", "#}", "\n", "é", "\0", "\ud800", "'", "{{ (((((((1", "{{ 1e400 }}", "{{ " + "9" * 5000 + " }}", "{{ -" * 3,
]  # fmt: skip
template_texts = st.lists(st.sampled_from(TEMPLATE_TOKENS), max_size=14).map("".join) | st.text(max_size=60)
SEEN = templates.names(Job(1, "Stock", NOW, "S.csv", "in", "stock", "main", NOW))


@fuzzed
@given(template_texts, st.sampled_from(["t", "t.xml.j2"]))
@example("{% break %}", "t")
@example("{% if 1 %}" * 300 + "{% endif %}" * 300, "t")
@example("{{ " + "9" * 5000 + " }}", "t")
@example("{{ dict(a=1,a=2) }}", "t")
def test_a_template_gives_a_text_or_a_fault_of_its_own(text: str, name: str) -> None:
    def records() -> Iterator[Record]:
        for number in (1, 2):
            record = Record(A="1", B="x;y", stock=AsItCame(2, "2,0"))
            record.number = number
            yield record

    def work() -> None:
        with suppress(TemplateFault):
            script = templates.compile(templates.freeze(name, lambda _: text))
            "".join(script.render({**SEEN, "part": 1, "records": records()}))

    assert cpu_seconds(work) < SECONDS


# -- searches and masks -----------------------------------------------------------------------------------------------

QUERY_TOKENS = ['"', "'", "*", "^", "-", "+", ":", "(", ")", "{", "}", " AND ", " OR ", " NOT ", " NEAR(", ",5)",
                "alpha", "order-1",
                "%", "_", "\\", "\0", "é", "\ud800", "a" * 300, "key:", "; DROP TABLE message",
                "\U0001f600"]  # fmt: skip


@lru_cache(maxsize=1)
def _search() -> Search:
    folder = tempfile.TemporaryDirectory()
    room = Room(Path(folder.name) / "journal.db")
    room.folder = folder  # type: ignore[attr-defined]  # lives as long as the journal in it
    room.add(1, b"alpha beta")
    room.search.room = room  # type: ignore[attr-defined]
    with room.connection.transaction():
        room.search.enqueue(1, ["order-1", "a" * 300])
    while room.search.index_slice():
        pass
    return room.search


@fuzzed
@given(st.lists(st.sampled_from(QUERY_TOKENS), max_size=12).map("".join) | st.text(max_size=60))
@example("abc\0d")
@example("\ud800")
def test_a_search_finds_or_does_not_whatever_is_asked(text: str) -> None:
    search = _search()
    assert cpu_seconds(lambda: search.find(text)) < SECONDS
    assert cpu_seconds(lambda: list(search.scan(text or "x", go_on=lambda *_: True))) < SECONDS


mask_texts = st.text(st.sampled_from("**?ab.[]!-"), max_size=14)


def _reference(mask: str, name: str) -> bool:
    """A mask of `*`, `?` and letters, by the book."""
    reached = {0}
    for letter in mask:
        if letter == "*":
            reached = set(range(min(reached), len(name) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(name) and letter in ("?", name[at])}
    return len(name) in reached


@fuzzed
@given(mask_texts, st.text(st.sampled_from("ab."), max_size=12))
@example("*a*a*a*a*a*b", "a" * 255)
@example("*[" * 7, "[[")
def test_a_mask_takes_what_it_says_and_costs_nothing(mask: str, name: str) -> None:
    taken: list[bool] = []
    assert cpu_seconds(lambda: taken.append(Masks((mask,)).takes(name))) < 1
    if "[" not in mask and name.startswith(".") <= mask.startswith("."):
        assert taken == [_reference(mask, name)]
