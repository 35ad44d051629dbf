"""Names that a template uses and nothing gives it: told before a message fails of them."""

from __future__ import annotations

import pytest

from cegid_daemon import resources
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.surmise import unknown_names
from cegid_daemon.rewrite.templates import freeze

REQUESTS = {"aurora/order-get.xml.j2", "aurora/report-get.xml.j2"}  # see other names than messages do
SHIPPED = sorted(str(path.relative_to(resources.templates())) for path in resources.templates().rglob("*.j2"))


def unknown(text: str, **others: str) -> list[tuple[str, str, int]]:
    bundle = Templates("a.j2", {"a.j2": text, **{f"{name}.j2": other for name, other in others.items()}})
    return [(name, place.file, place.line) for name, place in unknown_names(bundle)]


def test_a_mistyped_name_is_told_with_template_and_line() -> None:
    text = "{% for r in recrods %}\n{{ r.A }}{{ sorce.name }}\n{% endfor %}"
    assert unknown(text) == [("recrods", "a.j2", 1), ("sorce", "a.j2", 2)]


@pytest.mark.parametrize(
    "text",
    [
        "{{ message.id }}{{ source.name }}{{ route }}{{ store }}{{ now }}{{ part }}{{ records }}",
        "{% for r in records %}{{ loop.index }}{{ r.A }}{% endfor %}",
        "{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set ns = namespace(n=0) %}{% set ns.n = 1 %}{{ ns.n }}",
        "{% macro m(a, b=1) %}{{ a }}{{ b }}{{ varargs }}{{ caller() }}{% endmacro %}{{ m(1) }}",
        "{% for i in range(3) %}{{ dict(a=i) }}{% endfor %}{% with z = 1 %}{{ z }}{% endwith %}",
    ],
)
def test_what_is_given_is_not_told(text: str) -> None:
    assert unknown(text) == []


def test_templates_of_a_bundle_see_what_the_others_set() -> None:
    main = "{% extends 'base.j2' %}{% import 'lib.j2' as lib %}{% from 'lib.j2' import m as n %}{% set shop = 1 %}"
    base = "{% block b %}{{ shop }}{{ lib.m() }}{{ n() }}{{ gone }}{% endblock %}"
    assert unknown(main, base=base, lib="{% macro m() %}{% endmacro %}") == [("gone", "base.j2", 1)]


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in REQUESTS])
def test_shipped_templates_use_nothing_else(name: str) -> None:
    def text_of(one: str) -> str:
        return (resources.templates() / one).read_text("utf-8")

    assert unknown_names(freeze(name, text_of)) == []
