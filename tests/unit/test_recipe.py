"""A recipe comes back from the journal as it went in, and its name changes with every ingredient."""

from __future__ import annotations

import json
from dataclasses import replace

from cegid_daemon.config import load
from cegid_daemon.resources import starter_configuration
from cegid_daemon.rewrite.recipe import Layout, Output, Proof, Recipe, Stocks, Templates, recipe_from_json

FULL = Recipe(
    layout=Layout(
        name="orders", kind="records", types={"CCM": ("A", "B"), "ADR": ("C",), "CCL": ("D",)}, skip=("r.A == 'X'",),
        stocks=(Stocks(each="V", sku="r.B", stock="r.S"),), proof=Proof(trailer="END", count="r['2']"),
    ),
    templates=Templates("main.xml.j2", {"main.xml.j2": "{% include 'part' %}", "part": "é"}),
    output=Output(check="xsd", schema="<schema/>", schema_name="a.xsd", batch=3),
    target_name="{{ source.stem }}.xml",
    unique="r.A",
    versions={"lxml": "6"},
)  # fmt: skip


def kept_and_read(recipe: Recipe) -> Recipe:
    """As the journal does it: sorted JSON, texts by their SHA-256."""
    return recipe_from_json(json.loads(json.dumps(recipe.as_json(), sort_keys=True)), recipe.texts().__getitem__)


def test_a_recipe_comes_back_as_it_was() -> None:
    assert kept_and_read(FULL) == FULL
    assert kept_and_read(FULL).sha256 == FULL.sha256


def test_the_order_of_record_types_survives() -> None:
    assert list(kept_and_read(FULL).layout.types) == ["CCM", "ADR", "CCL"]


def test_every_recipe_of_the_embedded_default_comes_back() -> None:
    recipes = load(starter_configuration()).recipes
    assert recipes
    for recipe in recipes.values():
        assert kept_and_read(recipe) == recipe


def test_a_changed_included_template_is_another_recipe() -> None:
    assert FULL.templates is not None
    changed = Templates("main.xml.j2", {**FULL.templates.texts, "part": "e"})
    assert replace(FULL, templates=changed).sha256 != FULL.sha256
