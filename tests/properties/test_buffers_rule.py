"""The buffer rule against a slow reading of its text, and sums against a plain dict."""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.rewrite import buffers, sums
from cegid_daemon.rewrite.keys import Keys
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.tally import Tally

LAYOUT = Layout("stock", "delimited", decimal=",", sku="r.SKU", product="r.PROD", stock="r.QTE")
SUMMING = Layout("stock", "delimited", decimal=",", sku="r.SKU", product="r.PROD", stock="r.QTE", sum_by="sku")

typed = st.one_of(
    st.none(),
    st.integers(-5, 50).map(str),
    st.sampled_from(["", " ", "\t7\u00a0", "007", "+2", "2.0", "2,0", "abc", "٣", "1e1", "0", "99999999999"]),
    st.text(max_size=4),
)
skus, products = st.sampled_from(["", "S1", "S2", " S3 "]), st.sampled_from(["", "P1", "P2 "])
stocks = st.one_of(
    st.just(""), st.decimals(-100, 100, places=3).map(lambda d: str(d).replace(".", ",")), st.integers(-9, 99).map(str)
)
rows = st.lists(st.tuples(skus, products, stocks), max_size=12)


class DictBook:
    """A buffer book in dicts."""

    def __init__(
        self, store: str | None, by_sku: dict[str, str], by_product: dict[str, str], of: dict[str, str]
    ) -> None:
        self.store, self.by_sku, self.by_product, self.of = store, by_sku, by_product, of

    def store_buffer(self) -> str | None:
        return self.store

    def variations(self, skus: Sequence[str]) -> Mapping[str, str]:
        return {key: self.by_sku[key] for key in skus if key in self.by_sku}

    def products(self, products: Collection[str]) -> Mapping[str, str]:
        return {key: self.by_product[key] for key in products if key in self.by_product}

    def catalogue(self, skus: Sequence[str]) -> Mapping[str, str]:
        return {key: self.of[key] for key in skus if key in self.of}

    def exported(self, keys: Sequence[str]) -> Collection[str]:
        return ()


books = st.builds(
    DictBook,
    typed,
    st.dictionaries(st.sampled_from(["S1", "S2", "S3"]), st.text(max_size=3) | typed.filter(bool)),
    st.dictionaries(st.sampled_from(["P1", "P2", "P3"]), typed.filter(bool)),
    st.dictionaries(st.sampled_from(["S1", "S2", "S3"]), st.sampled_from(["P1", "P3"])),
)


def defined(text: str | None) -> bool:
    """Zero or a positive integer: ASCII digits between blanks, nothing else."""
    core = (text or "").strip(" \t\u00a0")
    return core != "" and all(character in string.digits for character in core)


def expected(book: DictBook, sku: str, product: str, stock: str) -> tuple[Decimal | None, str]:
    """The rule, step by step, for one row."""
    if stock == "":
        return None, "None"
    product = product or (book.of.get(sku, "") if sku else "")
    levels = [
        ("Variation", book.by_sku.get(sku) if sku else None),
        ("Product", book.by_product.get(product) if product else None),
        ("Store", book.store),
    ]
    value = Decimal(stock.replace(",", "."))
    for level, text in levels:
        if text is not None and defined(text):
            return max(Decimal(0), value - int(text.strip(" \t\u00a0"))), level
    return value, "None"


def records(found: list[tuple[str, str, str]]) -> list[Record]:
    return [Record(SKU=sku, PROD=product, QTE=stock) for sku, product, stock in found]


@given(rows, books)
def test_every_stock_value_is_what_the_rule_says(found: list[tuple[str, str, str]], book: DictBook) -> None:
    tally = Tally()
    made = list(buffers.stocked(Keys(LAYOUT, tally).blocks(records(found)), LAYOUT, book, tally))
    keyed = [(sku.strip(), product.strip(), stock) for sku, product, stock in found if sku.strip() or product.strip()]
    assert tally.left_out.total() == len(found) - len(keyed)
    for r, row in zip(made, keyed, strict=True):
        stock, level = expected(book, *row)
        assert (r["sku"], r["product"], r["buffer_level"]) == (row[0], row[1], level)
        assert (r["stock"] == "") if stock is None else (Decimal(str(r["stock"])) == stock)
        assert not {"E", "e"} & set(str(r["stock"]))


@given(rows, st.integers(1, 3))
def test_sums_do_not_depend_on_how_many_keys_memory_holds(found: list[tuple[str, str, str]], kept: int) -> None:
    book, tally = DictBook(None, {}, {}, {}), Tally()
    with patch.object(sums, "KEPT", kept):
        made = list(buffers.stocked(Keys(SUMMING, tally).blocks(records(found)), SUMMING, book, tally))
    totals: dict[tuple[str, str], Decimal | None] = {}
    for sku, product, stock in found:
        key = (sku.strip(), "") if sku else ("", product.strip())
        if any(key):
            one, other = totals.get(key), Decimal(stock.replace(",", ".")) if stock else None
            totals[key] = other if one is None else one + (other or 0)
    assert {(r["sku"], "" if r["sku"] else r["product"]): r["stock"] for r in made} == {
        key: "" if total is None else total for key, total in totals.items()
    }
    assert len(made) + tally.left_out.total() == len(found)


@given(st.text())
def test_no_text_defines_a_buffer_but_ascii_digits(text: str) -> None:
    assert (buffers.parse(text) is not None) == defined(text)
