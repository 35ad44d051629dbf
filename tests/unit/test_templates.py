"""Bundles, what templates see and may not do, where their faults are, and the names of delivered files."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cegid_daemon.errors import BadInput, TemplateFault
from cegid_daemon.rewrite import templates
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.reachable import OnePass
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.record import PlainDecimal, Record, as_it_came

NOW = datetime(2026, 11, 23, 7, 42, tzinfo=UTC)


def job(source_name: str = "STOCK_010.csv") -> Job:
    return Job(5, "Inventory Import", NOW, source_name, "inventory", "inventory", "main", NOW)


def record(number: int = 1, **fields) -> Record:
    made = Record(fields)
    made.number = number
    return made


def render(text: str, *records: Record, name: str = "a.csv.j2", **texts: str) -> str:
    others = {key.replace("_", "."): value for key, value in texts.items()}
    script = templates.compile(Templates(name, {name: text, **others}))
    return "".join(script.render({**templates.names(job()), "part": 1, "records": iter(records)}))


def test_freeze_gathers_all_that_is_extended_included_and_imported():
    texts = {
        "main.j2": "{% extends 'base.j2' %}{% block b %}{% include ['a.j2', 'absent.j2'] %}{% endblock %}",
        "base.j2": "{% import 'macros.j2' as m %}{% include 'absent.j2' ignore missing %}{% block b %}{% endblock %}",
        "macros.j2": "{% from 'deep.j2' import x %}",
        "deep.j2": "{% macro x() %}{% endmacro %}",
        "a.j2": "{% include 'a.j2' %}",
        "unused.j2": "",
    }
    bundle = templates.freeze("main.j2", texts.get)
    assert bundle == Templates("main.j2", {name: texts[name] for name in sorted(texts) if name != "unused.j2"})


def test_freeze_says_where_an_absent_template_is_named():
    texts = {"main.j2": "first line\n{% include 'gone.j2' %}"}
    with pytest.raises(TemplateFault, match=r"there is no template 'gone\.j2'") as caught:
        templates.freeze("main.j2", texts.get)
    assert (caught.value.where.file, caught.value.where.line) == ("main.j2", 2)


@pytest.mark.parametrize("tag", ["{% include store ~ '.j2' %}", "{% extends route %}", "{% import [store] as x %}"])
def test_freeze_refuses_a_template_named_by_an_expression(tag):
    with pytest.raises(TemplateFault, match="named by an expression"):
        templates.freeze("main.j2", {"main.j2": tag}.get)


@pytest.mark.parametrize("text", ["a\n{% for %}", "a\n{{ x|klingon }}", "a\n{{ x"])
def test_a_template_that_cannot_be_read_names_itself_and_the_line(text):
    with pytest.raises(TemplateFault) as caught:
        templates.compile(Templates("main.j2", {"main.j2": "{% include 'bad.j2' %}", "bad.j2": text}))
    assert (caught.value.where.file, caught.value.where.line) == ("bad.j2", 2)


def test_freeze_already_refuses_a_filter_that_does_not_exist():
    with pytest.raises(TemplateFault, match="klingon") as caught:
        templates.freeze("main.j2", {"main.j2": "a\n{{ store|klingon }}"}.get)
    assert (caught.value.where.file, caught.value.where.line) == ("main.j2", 2)


def test_compiled_bundles_are_kept():
    bundle = Templates("main.j2", {"main.j2": "kept"})
    assert templates.compile(bundle) is templates.compile(Templates("main.j2", {"main.j2": "kept"}))


def test_a_template_sees_the_message_its_source_and_the_moment():
    text = (
        "{{ message.id }} {{ message.name }} {{ message.received_at.year }} {{ source.name }} {{ source.stem }} "
        "{{ source.suffix }} {{ source.folder }} {{ route }} {{ store }} {{ now.strftime('%Y%m%d_%H%M%S') }} {{ part }}"
    )
    expected = "5 Inventory Import 2026 STOCK_010.csv STOCK_010 .csv inventory inventory main 20261123_074200 1"
    assert render(text) == expected


def test_a_block_tag_takes_its_line_with_it_and_the_last_line_end_stays():
    assert render("h\n{% for r in records %}\n  {% if true %}\n{{ r.A }}\n  {% endif %}\n{% endfor %}\n",
                  record(A="1"), record(A="2")) == "h\n1\n2\n"  # fmt: skip


def test_line_ends_of_the_template_are_kept():
    assert render("a\r\n{% for r in records %}\r\n{{ r.A }}\r\n{% endfor %}\r\n", record(A="1")) == "a\r\n1\r\n"


def test_xml_templates_escape_and_others_do_not():
    value = record(A="<&>\"'")
    assert render("{% for r in records %}{{ r.A }}{% endfor %}", value, name="a.xml.j2") == "&lt;&amp;&gt;&#34;&#39;"
    assert render("{% for r in records %}{{ r.A }}{% endfor %}", value) == "<&>\"'"


def test_what_an_xml_template_includes_is_escaped_whatever_its_name():
    text = "{% for r in records %}{% include 'part.j2' %}{% endfor %}"
    assert render(text, record(A="<"), name="a.xml.j2", part_j2="{{ r.A }}") == "&lt;"


def test_numbers_and_blanks_print_plainly():
    shown = record(a=8, b=PlainDecimal("8.50"), c="", d=None, e=PlainDecimal("1E+3"))
    text = "{% for r in records %}{{ r.a }}|{{ r.b }}|{{ r.c }}|{{ r.d }}|{{ r.e * 2 }}{% endfor %}"
    assert render(text, shown) == "8|8.5|||2000"


def test_a_field_comes_before_a_method_of_the_record():
    shown = record(**{"items": "7", "each": "8", "Items/Item": "9"})
    assert render("{% for r in records %}{{ r.items }}{{ r.each }}{{ r['Items/Item'] }}{% endfor %}", shown) == "789"


def test_inner_and_raw_fields_can_be_reached():
    order = record(stock="5")
    order.compute({"stock": 3}, frozenset({"stock"}))
    order.hold("Items/Item", [Record(SKU="a"), Record(SKU="b")])
    text = (
        "{% for r in records %}{{ r.number }}{{ r.stock }}{{ r.raw['stock'] }}"
        "{% for i in r.each('Items/Item') %}{{ i.SKU }}{% endfor %}{% endfor %}"
    )
    assert render(text, order) == "135ab"


@pytest.mark.parametrize("expression", ["r.Absent", "r['Absent']", "r.keys", "absent", "r.Absent|fit(3)", "r.A.b"])
def test_what_is_undefined_fails_with_template_line_and_record(expression):
    text = "{% for r in records %}\n{{ " + expression + " }}{% endfor %}"
    with pytest.raises(TemplateFault, match=r"(?i)absent|no field|has no attribute") as caught:
        render(text, record(41, A="1"))
    where = caught.value.where
    assert (where.file, where.line, where.record) == ("a.csv.j2", 2, 41)


def test_default_stands_in_for_an_absent_field():
    assert render("{% for r in records %}{{ r.Absent|default('-') }}{% endfor %}", record()) == "-"


@pytest.mark.parametrize("value", ["r.LIBELLE", "r['LIBELLE']", "r.LIBELLE|upper", "(r.LIBELLE)|trim"])
def test_a_refusing_filter_names_template_line_record_and_field(value):
    with pytest.raises(TemplateFault, match="does not fit into 3") as caught:
        render("a\n{% for r in records %}{{ " + value + "|fit(3) }}{% endfor %}", record(9, LIBELLE="chemise"))
    where = caught.value.where
    assert (where.file, where.line, where.record, where.field) == ("a.csv.j2", 2, 9, "LIBELLE")


def test_a_fault_in_a_macro_names_the_macro_and_still_the_record():
    loop = "{% for r in records|sort(attribute='A') %}{{ cell(r.A) }}{% endfor %}"
    text = "{% from 'm.j2' import cell with context %}" + loop
    with pytest.raises(TemplateFault) as caught:
        render(text, record(7, A="long"), record(8, A="x"), m_j2="\n\n{% macro cell(v) %}{{ v|fit(2) }}{% endmacro %}")
    assert (caught.value.where.file, caught.value.where.line, caught.value.where.record) == ("m.j2", 3, 7)


@pytest.mark.parametrize("counting", ["records|length", "records|count"])
def test_counting_the_records_fails_with_a_way_out(counting):
    script = templates.compile(Templates("a.j2", {"a.j2": "{{ " + counting + " }}"}))
    with pytest.raises(TemplateFault, match="cannot be counted") as caught:
        list(script.render({"records": OnePass()}))
    assert "loop.index" in caught.value.remedy
    assert render("{{ 'abc'|length }}{{ records|list|length }}", record(), record()) == "32"


@pytest.mark.parametrize(
    "expression",
    ["''.__class__", "r.__class__", "r._hidden", "r.raw._record", "records.gi_frame", "now.now()", "now.today()",
     "r.clear()", "[1].append(2)", "'{0.__class__}'.format(1)", "range(1000000)", "self.__init__", "lipsum()"],
)  # fmt: skip
def test_the_sandbox_holds(expression):
    with pytest.raises(TemplateFault):
        render("{% for r in records %}{{ " + expression + " }}{% endfor %}", record(A="1"))


def test_chance_is_no_filter():
    with pytest.raises(TemplateFault, match="random"):
        render("{{ [1, 2]|random }}")


def test_endless_recursion_is_a_fault_of_the_template():
    with pytest.raises(TemplateFault, match="without end"):
        render("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}")


def test_a_broken_row_found_while_reading_stays_the_fault_of_the_file():
    def broken():
        yield record(1, A="1")
        raise BadInput("row 2 is broken")

    script = templates.compile(Templates("a.j2", {"a.j2": "{% for r in records %}{{ r.A }}{% endfor %}"}))
    with pytest.raises(BadInput, match="row 2"):
        list(script.render({"records": broken()}))


def named(template: str, source_name: str = "S1.csv", part: int = 1) -> str:
    return templates.file_name(template, {**templates.names(job(source_name)), "part": part})


def test_a_file_name_is_rendered_without_escaping():
    assert named("{{ source.stem }}_{{ now.strftime('%H%M') }}_{{ part }}.xml", "R&D.csv", 2) == "R&D_0742_2.xml"


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/b", "a\\b", "a\0b", "../x"])
def test_a_name_that_could_escape_the_folder_is_refused(name):
    with pytest.raises(TemplateFault, match="is no name for a file"):
        named("{{ source.name }}" if "/" not in name else name, name if "/" not in name else "x")


def test_odd_names_pass_as_they_are():
    for name in ("-rf", "a\nb.csv", 'it\'s "quoted".csv', "caf\udce9.csv"):
        assert named("{{ source.name }}", name) == name


@pytest.mark.parametrize("char", ["x", "é", "\udce9"])
def test_a_name_too_long_gets_a_shorter_stem_and_keeps_part_and_suffix(char):
    size = len(char.encode("utf-8", "surrogateescape"))
    name = named("{{ source.stem }}-{{ part }}.xml", char * (251 // size) + ".csv", 12)
    assert name.endswith("-12.xml")
    assert 253 <= len(name.encode("utf-8", "surrogateescape")) <= 255


def test_a_name_too_long_by_itself_is_cut_before_its_suffix():
    assert named("y" * 300 + ".xml") == "y" * 251 + ".xml"
    assert named("y." + "z" * 300) == "y." + "z" * 253


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 9999999999 }}",
        "{% set a = 9 ** (9 ** 9) %}",
        "{% if 'x' * 9999999999 %}{% endif %}",
        "{{ 'x' | center(99999999999) }}",
        "{{ '%99999999999d' | format(1) }}",
    ],
)
def test_compiling_computes_nothing_so_that_a_hostile_constant_costs_only_who_renders_it(text):
    templates.compile(Templates("a.csv.j2", {"a.csv.j2": text}))


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("('WEB' ~ r.A)", "A"),
        ("(r.A ~ r.B)", "A, B"),
        ("(r.A|default('') or r.B|default(''))", "A, B"),
        ("r.A.strip()", "A"),
        ("(r.A if r.C else r.B)", "A, B"),
        ("(r.A ~ r.A)", "A"),
        ("'constant'", ""),
    ],
)
def test_a_refusing_filter_names_every_field_its_value_may_come_from(value, field):
    with pytest.raises(TemplateFault, match="does not fit into 3") as caught:
        render("{% for r in records %}{{ " + value + "|fit(3) }}{% endfor %}", record(A="abcde", B="fghij", C="x"))
    assert caught.value.where.field == field


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for r in records %}{{ r.raw['stock'] }}{% endfor %}", "the record as it came has no 'stock'"),
        ("{{ source.foo }}", "source has no 'foo'"),
        ("{{ message.route }}", "message has no 'route'"),
    ],
)
def test_what_is_not_there_is_named_in_the_words_of_templates(text, said):
    with pytest.raises(TemplateFault) as caught:
        render(text, record(A="1"))
    assert caught.value.what == said


@pytest.mark.parametrize(
    "shown",
    [
        "{{ r.stock }}",
        "{{ r.stock ~ '' }}",
        "{{ '%s'|format(r.stock) }}",
        "{{ '{}'.format(r.stock) }}",
    ],
)
def test_a_stock_prints_plainly_however_it_is_printed(shown):
    text = "{% for r in records %}" + shown + "{% endfor %}"
    assert render(text, record(stock=PlainDecimal("8.500"))) == "8.5"
    assert render(text, record(stock=as_it_came(PlainDecimal("8.5"), "8,500"))) == "8,500"


def test_a_stock_can_be_formatted():
    text = "{% for r in records %}{{ '{:.3f}'.format(r.stock) }}{% endfor %}"
    assert render(text, record(stock=PlainDecimal("8.5"))) == "8.500"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first\n{% if part > 1 %}{{ part|fitt(3) }}{% endif %}", "there is no filter 'fitt'"),
        ("first\n{% if part is evn %}x{% endif %}", "there is no test 'evn'"),
        ("first\n{{ part|fitt(3) }}", "there is no filter 'fitt'"),
    ],
)
def test_freeze_finds_filters_and_tests_that_are_not_there_wherever_they_stand(text, said):
    with pytest.raises(TemplateFault) as caught:
        templates.freeze("a.j2", {"a.j2": text}.get)
    assert (caught.value.what, caught.value.where.file, caught.value.where.line) == (said, "a.j2", 2)
