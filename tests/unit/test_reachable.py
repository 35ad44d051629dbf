"""What templates, expressions and names of templates can reach and compute: what is documented, and no more."""

from __future__ import annotations

import re
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Undefined
from jinja2.runtime import LoopContext, Macro

from cegid_daemon.config.build import Folders
from cegid_daemon.config.names import names_in
from cegid_daemon.errors import ConfigurationError, MessageError, TemplateFault
from cegid_daemon.rewrite import templates
from cegid_daemon.rewrite.expressions import compile_condition, compile_text
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.provenance import Printed
from cegid_daemon.rewrite.recipe import Layout, Templates
from cegid_daemon.rewrite.record import AsItCame, PlainDecimal, Record
from cegid_daemon.rewrite.rewriting import PartRecords
from cegid_daemon.rewrite.sandbox import Sandbox
from cegid_daemon.rewrite.surmise import unknown_names
from tests.properties.costs import cpu_seconds

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SEEN = templates.names(Job(1, "Stock", NOW, "S.csv", "in", "stock", "main", NOW))
PAGE = Path("docs/templates.md").read_text("utf-8")
REACHED = PAGE.partition("## What can be reached")[2].partition("\n## ")[0]
LAYOUT = Layout("x", "delimited")
BOX = Sandbox(Templates("t.j2", {}))


def some_records() -> PartRecords:
    some = [Record(A="x", sku="1", stock=AsItCame(2, "2,0")) for _ in range(2)]
    for number, one in enumerate(some, 1):
        one.number = number
    return PartRecords(iter([(one, "") for one in some]), -1, lambda _record, _key: None, Printed())


def reached(value: Any) -> set[str]:
    """The names of a value that the sandbox gives a template, beside items."""
    given = {name: getattr(value, name, None) for name in dir(value)}
    if isinstance(value, Record):
        return {name for name in given if not isinstance(BOX.getattr(value, name), Undefined) and name not in value}
    return {name for name, one in given.items() if BOX.is_safe_attribute(value, name, one)}


def documented(row: str) -> set[str]:
    line = next(line for line in REACHED.splitlines() if line.startswith(f"| {row}"))
    return set(re.findall(r"`([A-Za-z0-9_]+)`", line.split("|")[2]))


def public(*kinds: type) -> set[str]:
    return {name for kind in kinds for name in dir(kind) if not name.startswith("_")}


def macro() -> Any:
    return Macro(BOX, lambda: "", "m", [], False, False, False, False)


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("`records`", some_records()), ("a record", Record(A="1")), ("`r.raw`", Record(A="1").raw),
        ("`message`", SEEN["message"]), ("`source`", SEEN["source"]), ("`now`", SEEN["now"]),
        ("`loop`", LoopContext([], BOX.undefined)), ("a macro", macro()),
    ],
    ids=["records", "record", "raw", "message", "source", "now", "loop", "macro"],
)  # fmt: skip
def test_each_object_offers_the_documented_names_and_no_others(row: str, value: Any) -> None:
    assert reached(value) == documented(row)


def test_a_loop_tells_its_depth_from_nought_as_from_one() -> None:
    script = templates.compile(
        templates.freeze("t.j2", lambda _: "{% for a in 'x' %}{{ loop.depth0 }}{{ loop.depth }}{% endfor %}")
    )
    assert "".join(script.render(SEEN)) == "01"


@pytest.mark.parametrize(
    ("value", "kinds"),
    [("text", [str]), (12, [int]), (PlainDecimal("1.5"), [Decimal]), (AsItCame(2, "2,0"), [Decimal])],
)
def test_texts_and_numbers_offer_what_pythons_do(value: Any, kinds: list[type]) -> None:
    assert reached(value) == public(*kinds)


def test_filters_and_globals_are_the_documented_ones() -> None:
    filters = set(re.findall(r"`(\w+)`", REACHED.partition("Filters: ")[2].partition(".")[0]))
    assert {name for name in BOX.filters if " " not in name} == filters
    assert set(BOX.globals) == documented("globals")
    assert set(SEEN) | {"records", "part"} == {"message", "source", "route", "store", "now", "records", "part"}


ESCAPES = """
    records|attr('gi_frame')  records.read  records.recent  records['recent']  records.rest()  records.printed()
    records._given  ''|attr('x')
    '{0.recent}'.format(records)  '{0.rest}'.format_map({'0':records})  ('{0.recent}'|safe).format(records)
    records|map(attribute='raw._record')|list  records|groupby('__class__')  records|sum(attribute='compute')
    records|selectattr('__class__')|list  records|rejectattr('held')|list  records|sort(attribute='pop')
    records|unique(attribute='_inner')|list  records|min(attribute='__class__')  records|max(attribute='__class__')
    records|map('attr','compute')|list  records|join(attribute='update')  r|attr('each')  r.compute  r.pop()  r.clear()
    r['update']  r.raw._record  r.each.__self__  r.each.__func__  r.stock.number  r.stock.text  (r.A~'').__class__
    loop._iterator  loop.__class__  self.__init__  self._TemplateReference__context  cycler.__init__.__globals__
    cycler('a').items  cycler('a').next.__globals__  joiner().used  namespace.__init__  namespace(a=1).__class__
    dict.__subclasses__()  range.__class__  m._func  m.__globals__  m._environment  ([1]|map('string')).gi_frame
    ([1]|map('string')).send  ([1]|map('string')).close()  '{0.gi_code}'.format([1]|map('string'))  now.now()
    now.fromtimestamp(0)  now.today()  now.min  '{0.utcnow}'.format(now)  ''.format.__self__  message._id  lipsum(n=9)
    nope.__class__  {'a b':1}|xmlattr  '%(a.b)s'|format(1)  source.__slots__  route.__class__  m.caller.__class__
    environment  context  ''['__class__']  ''|attr('_'~'_class_'~'_')  varargs  caller.__globals__  super
    """.split("  ")  # noqa: SIM905


@pytest.mark.parametrize("expression", [one.strip() for one in ESCAPES if one.strip()])
def test_no_way_around_the_sandbox(expression: str) -> None:
    text = "{% macro m() %}{% endmacro %}{% for r in some %}{{ " + expression + " }}{% endfor %}"
    one = Record(A="x", stock=AsItCame(2, "2,0"))
    with pytest.raises(TemplateFault):
        script = templates.compile(templates.freeze("t.j2", lambda _: text))
        "".join(script.render({**SEEN, "records": some_records(), "some": [one]}))


@pytest.mark.parametrize(
    "text",
    [
        "{% break %}", "{{ " + "9" * 5000 + " }}", "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 1" + "+1" * 3000 + " }}", "{{ 1" + "|abs" * 3000 + " }}", "{{ " + "-" * 3000 + "1 }}",
        "{% for a in [1] %}" * 25 + "{% endfor %}" * 25, "{% if 1 %}" * 300 + "{% endif %}" * 300,
        "{{ dict(a=1,a=2) }}", "{% macro m(a, a) %}{% endmacro %}", "{{ " + "[" * 150 + "]" * 150 + " }}",
        "{% include 'x'|center(9999999999) %}", "{% include ['x']*9999999999 %}",
        "{% extends 'x'|indent(9999999999) %}",
        "{% autoescape 'x'|center(9999999999) %}{% endautoescape %}", "{% from '%9999999999d'|format(1) import a %}",
        "{% include '" + "x" * 300 + "' %}",
        "{% include '../x' %}", "{% include '/etc/passwd' %}", "{% import '.' as x %}",
    ],
    ids=range(20),
)  # fmt: skip
def test_what_cannot_be_compiled_is_a_fault_of_the_template_and_costs_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_text(text, "utf-8")

    def freezing() -> None:
        with pytest.raises(TemplateFault, match=r"t\.j2"):
            Folders(tmp_path, tmp_path).freeze("t.j2")

    assert cpu_seconds(freezing) < 2


def test_a_fault_of_a_template_quotes_a_little_of_what_it_met() -> None:
    script = templates.compile(Templates("t.j2", {"t.j2": "{{ {}['x' * 1000000] }}"}))
    with pytest.raises(TemplateFault) as caught:
        "".join(script.render(SEEN))
    assert len(str(caught.value)) < 800


def test_a_template_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("password", "utf-8")
    (folder / "out.j2").symlink_to(tmp_path / "secret")
    (folder / "sub" / "real.j2").write_text("x", "utf-8")
    (folder / "in.j2").symlink_to(folder / "sub" / "real.j2")
    with pytest.raises(TemplateFault, match=r"leads out of the templates folder.*out\.j2.*Put a copy"):
        Folders(tmp_path, folder).freeze("out.j2")
    assert Folders(tmp_path, folder).freeze("in.j2").texts == {"in.j2": "x"}


@pytest.mark.parametrize(
    "expression",
    [
        "r.A|default('x'|center(9999999999))", "r.A|default(['x']*9999999999)", "r.A|default(10**10**10)",
        "r.A|replace('a', 'x'*9999999999)", "r.A|default('%9999999999d'|format(1))", "r.A|default(''.__class__)",
        "r.A|default(range(9999999999)|list)", "r.A|attr('x')", "r.A in [1e999999999]", "r.A == 1e-999999999",
        "r.A|default(" + "9" * 5000 + ")", "r.A == 0x" + "f" * 5000, "r.A" + "+r.A" * 3000, "(" * 3000 + "r.A",
        "-" * 3000 + "r.A", "r.A" + "|trim" * 3000, "not " * 3000 + "r.A", "'a'" * 3000 + "|nope", "r|map('attr')",
    ],
    ids=range(19),
)  # fmt: skip
def test_an_expression_computes_no_large_constant(expression: str) -> None:
    def compiling() -> None:
        with pytest.raises(ConfigurationError, match=r"cannot be (used|read)"):
            compile_text(expression, LAYOUT, ["A"])

    assert cpu_seconds(compiling) < 2


def test_constants_within_bounds_are_computed() -> None:
    assert compile_text("r.A|default('a' ~ 2 ~ 'b')", LAYOUT)(Record()) == "a2b"
    assert compile_text("r.A|default(-(2 + 3 * 4))", LAYOUT)(Record()) == "-14"
    assert compile_condition("r.A in ['001', '002']", LAYOUT)(Record(A="002"))
    many = " or ".join(["r.A == '1'"] * 90)
    assert compile_condition(many, LAYOUT)(Record(A="1"))


def test_replacing_over_and_over_is_bounded() -> None:
    grows = compile_text("r.A" + f"|replace('a', '{'a' * 100}')" * 10, LAYOUT, ["A"])
    with pytest.raises(MessageError, match=r"grows too long.*16,000,000"):
        grows(Record(A="aaa"))


@pytest.mark.parametrize("text", ["{{ 'x'|center(30000000) }}", "{{ [[1]]|tojson(indent=30000000) }}"])
def test_names_are_looked_for_and_nothing_is_computed(text: str) -> None:
    tracemalloc.start()
    assert unknown_names(templates.freeze("t.j2", lambda _: text + "{{ a }}"))[0][0] == "a"
    assert names_in(text + "{{ part }}") == {"part"}
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grown < 20_000_000
