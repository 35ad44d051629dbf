"""A record counts as printed when one of its values is in the output, wherever the template kept it until then."""

from __future__ import annotations

import pytest

from cegid_daemon.rewrite import templates
from cegid_daemon.rewrite.provenance import IN_TOTAL, PRINTED, Printed, counting
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.record import PlainDecimal, Record, as_it_came
from cegid_daemon.rewrite.rewriting import PartRecords
from cegid_daemon.rewrite.surmise import at_once

ROWS = [
    {"sku": "A", "web": "Y", "q": "1", "stock": 3},
    {"sku": "B", "web": "N", "q": "2", "stock": PlainDecimal("2.5")},
    {"sku": "C", "web": "Y", "q": "3", "stock": as_it_came(4, "4,000")},
]
NONE = 0
LOOP = "{% for r in records %}"


def rendered(template: str, name: str = "t.txt.j2") -> tuple[str, str]:
    """What a template makes of the rows, and of each how it is in the output: `-`, `t` (in a total) or `p`."""
    records = []
    for number, fields in enumerate(ROWS, 1):
        record = Record(fields)
        record.number = number
        inner = Record({"v": f"{fields['sku']}1"})
        inner.parent = record
        record.hold("V", [inner])
        records.append((record, ""))
    printed = Printed()
    here = PartRecords(iter(records), -1, lambda _record, _key: None, printed)
    with counting(printed):
        out = "".join(templates.compile(Templates(name, {name: template})).render({"records": here}))
    here.rest()
    levels = [printed.level(number) for number in range(1, len(ROWS) + 1)]
    assert (printed.count, printed.in_total) == (levels.count(PRINTED), levels.count(IN_TOTAL))
    return out, "".join({NONE: "-", IN_TOTAL: "t", PRINTED: "p"}[level] for level in levels)


@pytest.mark.parametrize("name", ["t.txt.j2", "t.xml.j2"])
@pytest.mark.parametrize(
    ("template", "out", "printed"),
    [
        (LOOP + "{{ r.sku }}{% endfor %}", "ABC", "ppp"),
        ("{% for r in records if r.web == 'Y' %}{{ r.sku }}{% endfor %}", "AC", "p-p"),
        (LOOP + "{% if r.web == 'Y' %}{{ r['sku'] }}{% endif %}{% endfor %}", "AC", "p-p"),
        (LOOP + "{% if r.sku == 'B' %}{% continue %}{% endif %}{{ r.sku }}{% endfor %}", "AC", "p-p"),
        (LOOP + "{{ r.sku }}{% break %}{% endfor %}", "A", "p--"),
        (LOOP + "x{% endfor %}", "xxx", "---"),
        (LOOP + "{{ 'y' if r.web == 'Y' else 'n' }}{% endfor %}", "yny", "---"),
        (LOOP + "{{ r.sku if r.web == 'Y' }}{% endfor %}", "AC", "p-p"),
        (LOOP + "{{ r.sku and 'x' }}{% endfor %}", "xxx", "---"),
        (LOOP + "{{ loop.index }}{% endfor %}", "123", "---"),
        (LOOP + "{{ r.stock }} {% endfor %}", "3 2.5 4,000 ", "ppp"),
        (LOOP + "{{ r.stock + 1 }} {% endfor %}", "4 3.5 5 ", "ppp"),
        (LOOP + "{{ -r.stock }} {% endfor %}", "-3 -2.5 -4 ", "ppp"),
        (LOOP + "{% set s = r.stock * 2 %}{{ s if r.web == 'N' }}{% endfor %}", "5", "-p-"),
        (LOOP + "{{ r.sku ~ '!' }}{% endfor %}", "A!B!C!", "ppp"),
        (LOOP + "{{ ('%s-%s' % (r.sku, r.q)) if r.q == '2' }}{% endfor %}", "B-2", "-p-"),
        (LOOP + "{{ '{}'.format(r.sku) }}{% endfor %}", "ABC", "ppp"),
        (LOOP + "{{ r.sku[:1] | lower | fit(3) }}{% endfor %}", "abc", "ppp"),
        (LOOP + "{% for c in r.sku.split(',') %}{{ c.lower() }}{% endfor %}{% endfor %}", "abc", "ppp"),
        (LOOP + "{% for c in r.sku %}{{ c }}{% endfor %}{% endfor %}", "ABC", "ppp"),
        (LOOP + "{% for v in r.each('V') %}{{ v.v if r.web == 'N' }}{% endfor %}{% endfor %}", "B1", "-p-"),
        (LOOP + "{{ r.each('V')[0].parent.sku if r.q == '3' }}{% endfor %}", "C", "--p"),
        (LOOP + "{{ r.raw['sku'] if loop.first }}{% endfor %}", "A", "p--"),
        (LOOP + "{% if loop.last %}{{ r.raw.values() | list | first }}{% endif %}{% endfor %}", "C", "--p"),
        (LOOP + "{% if loop.first %}{{ dict(r)['sku'] }}{% endif %}{% endfor %}", "A", "p--"),
        (LOOP + "{{ loop.previtem.sku if loop.previtem is defined else '-' }}{% endfor %}", "-AB", "pp-"),
        (LOOP + "{% with s = r.sku %}{{ s if r.web == 'Y' }}{% endwith %}{% endfor %}", "AC", "p-p"),
        (LOOP + "{% set x %}[{{ r.sku }}]{% endset %}{{ x if r.web == 'Y' }}{% endfor %}", "[A][C]", "p-p"),
        ("{% macro m(r) %}({{ r.sku }}){% endmacro %}" + LOOP + "{{ m(r) }}{% endfor %}", "(A)(B)(C)", "ppp"),
        ("{% macro m(r) %}({{ r.sku }}){% endmacro %}" + LOOP + "{% set x = m(r) %}{% endfor %}", "", "---"),
        ("{% macro m(s) %}({{ s | lower }}){% endmacro %}" + LOOP + "{{ m(r.sku) }}{% endfor %}", "(a)(b)(c)", "ppp"),
        (
            "{% macro m() %}({{ caller() }}){% endmacro %}{% for r in records if r.web == 'N' %}"
            "{% call m() %}{{ r.sku }}{% endcall %}{% endfor %}", "(B)", "-p-",
        ),
        ("{% filter lower %}{% for r in records if r.web == 'Y' %}{{ r.sku }}{% endfor %}{% endfilter %}", "ac", "p-p"),
        ("{% for r in records recursive %}{{ r.sku if r.q == '2' }}{% endfor %}", "B", "-p-"),
        ("{% block b %}" + LOOP + "{{ r.sku if r.q == '2' }}{% endfor %}{% endblock %}", "B", "-p-"),
        ("{{ records | map(attribute='sku') | join('+') }}", "A+B+C", "ppp"),
        ("{{ records | join('+', attribute='sku') }}", "A+B+C", "ppp"),
        ("{{ records | selectattr('web', 'eq', 'Y') | map(attribute='sku') | map('lower') | join }}", "ac", "p-p"),
        ("{{ (records | list | last).sku }}", "C", "--p"),
        ("{% for r in records | sort(attribute='sku', reverse=true) %}{{ r.sku if loop.index < 3 }}{% endfor %}",
         "CB", "-pp"),
        ("{% for k, rows in records | groupby('web') %}{{ k }}:{{ rows | map(attribute='sku') | join }} {% endfor %}",
         "N:B Y:AC ", "ppp"),
        ("{% for k, rows in records | groupby('web') %}{{ k }}{% endfor %}", "NY", "pp-"),
        ("{{ records | map(attribute='q') | map('int') | max }}", "3", "--p"),
        ("{{ records | map(attribute='q') | map('int') | sum }}", "6", "ttt"),
        ("{% set n = namespace(l=[]) %}" + LOOP + "{% if r.web == 'Y' %}{% set n.l = n.l + [r.sku] %}{% endif %}"
         "{% endfor %}{{ n.l | join(',') }}", "A,C", "p-p"),
        ("{% set n = namespace(l=[]) %}" + LOOP + "{% set n.l = n.l + [r] %}{% endfor %}"
         "{% for r in n.l if r.q != '1' %}{{ r.sku }}{% endfor %}", "BC", "-pp"),
        ("{% set n = namespace(d={}) %}" + LOOP + "{% set n.d = dict(n.d, **{r.web: n.d.get(r.web, []) + [r.sku]}) %}"
         "{% endfor %}{{ n.d['Y'] | join('+') }}", "A+C", "p-p"),
        ("{% set n = namespace(d={}) %}" + LOOP + "{% set n.d = dict(n.d, **{r.sku: 1}) %}{% endfor %}"
         "{% for k in n.d %}{{ k }}{% endfor %}", "ABC", "ppp"),
        ("{% set n = namespace(t='') %}" + LOOP + "{% set n.t = n.t ~ r.sku %}{% endfor %}{{ n.t }}", "ABC", "ppp"),
        ("{% set n = namespace(t=0) %}" + LOOP + "{{ r.sku if r.web == 'Y' }}{% set n.t = n.t + r.q | int %}"
         "{% endfor %}={{ n.t }}", "AC=6", "ptp"),
        ("{% set n = namespace(t=0) %}" + LOOP + "{% set n.t = n.t + 1 %}{% endfor %}{{ n.t }}", "3", "---"),
        ("{% set n = namespace(t=0) %}" + LOOP + "{% set n.t = n.t + r.q | int %}{{ n.t }} {% endfor %}", "1 3 6 ",
         "ptt"),
    ],
)  # fmt: skip
def test_a_record_is_printed_when_one_of_its_values_is(name: str, template: str, out: str, printed: str) -> None:
    assert rendered(template, name) == (out, printed)


def test_a_text_that_is_escaped_bears_its_origin() -> None:
    template = (
        "{% set n = namespace(t='') %}{% for r in records %}{% set n.t = n.t ~ r.sku ~ '<' %}{% endfor %}{{ n.t }}"
    )
    assert rendered(template, "t.xml.j2") == ("A&lt;B&lt;C&lt;", "ppp")


def test_the_origin_of_a_value_is_not_for_templates() -> None:
    assert rendered("{% for r in records %}{% set s = r.sku %}{{ s._origin is defined }}{% endfor %}")[0] == "False" * 3


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        (LOOP + "{{ r.sku }}{% endfor %}", True),
        (LOOP + "{% set s = r.sku %}{{ s }}{% endfor %}", True),
        ("{% set n = namespace(t=0) %}" + LOOP + "{% set n.t = n.t + 1 %}{{ r.sku }}{% endfor %}", True),
        ("{% set n = namespace(t=0) %}" + LOOP + "{% set n.t = r.sku %}{% endfor %}", False),
        ("{{ records | list | length }}", False),
        (LOOP + "{{ loop.previtem.sku }}{% endfor %}", False),
    ],
)
def test_a_template_is_known_to_print_a_record_at_once_or_never(template: str, answer: bool) -> None:
    assert at_once(Templates("t.j2", {"t.j2": template})) is answer
