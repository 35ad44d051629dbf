"""The shipped pair for products with a row a variant prints every row, in whatever order they stand."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.golden.golden_bench import DictBook, recipe_of, run

CASE = {"layout": "y2-products-csv", "template": "aurora/product-add-rows.xml.j2"}
TITLES = (
    "GA_ARTICLE;GA_CODEARTICLE;GA_STATUTART;GA_CODEBARRE;GA_LIBELLE;GA_CODEDIM1;GA_CODEDIM2;GA_PVTTC;GA_INVISIBLEWEB;"
    "GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI"
)
KINDS = st.sampled_from(["GEN", "DIM", "UNI", "gen", "dim", "Dim", "uni", ""])
PRODUCTS = st.sampled_from(["000123", "000124", "000125"])


@settings(deadline=None)  # a busy machine
@given(st.lists(st.tuples(PRODUCTS, KINDS), min_size=1, max_size=12))
def test_every_row_is_in_the_output(rows: list[tuple[str, str]]) -> None:
    lines = [
        f"A;{product};{kind};200000{number:07};Label;;;;-;{number},000;0;0"
        for number, (product, kind) in enumerate(rows, 101)
    ]
    done, sink = run(recipe_of(CASE), "\n".join([TITLES, *lines]).encode(), DictBook({}))

    assert (done.coverage.read, done.coverage.sent, done.coverage.left_out) == (len(rows), len(rows), {})
    stocks: list[Any] = etree.fromstring(sink.parts[0]).xpath("//ProductStock/text() | //VariationStock/text()")
    assert sorted(map(int, stocks)) == list(range(101, 101 + len(rows)))
