"""Measures the CPU that rewriting costs a record, by format and template, beside another checkout of this project.

python benchmarks/rewriting.py [CASE…] [--beside CHECKOUT] [--rounds N]. The checkouts take turns, each in a process of
its own with its own `.venv`; of every case the fastest round counts. Prints microseconds a record, and new by old.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
_TABLE = {"kind": "delimited", "header": True, "sku": "r.sku", "stock": "r.stock"}
_STOCK = "aurora/inventory-import.xml.j2"
_LINES = "sku;stock\n{% for r in records %}\n{{ r.sku }};{{ r.stock }}\n{% endfor %}\n"
_MACRO = (
    "{% macro one(r) %}\n<I><S>{{ r.sku }}</S><P>{{ r.product }}</P><N>{{ r.stock }}</N></I>\n{% endmacro %}\n"
    "<L>{% for r in records %}\n{{ one(r) }}{% endfor %}\n</L>\n"
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}; all without one")
    parser.add_argument("--beside", type=Path, help="another checkout with a .venv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    cases = chosen.case or list(CASES)
    if chosen.measure:
        json.dump(dict(_measured(chosen.measure, cases)), sys.stdout)
        return
    places = [HERE, *([chosen.beside.resolve()] if chosen.beside else [])]
    best: dict[tuple[Path, str], float] = {}
    for number in range(chosen.rounds):
        for place in places if number % 2 else reversed(places):
            for case, taken in _ask(place, cases).items():
                best[place, case] = min(taken, best.get((place, case), taken))
    print(f"{'case':24}{'µs a record':>12}" + (f"{'beside':>9}{'ratio':>8}" if chosen.beside else ""))
    for case in cases:
        new, *old = (best[place, case] for place in places)
        print(f"{case:24}{new:12.2f}" + "".join(f"{one:9.2f}{new / one:8.2f}" for one in old))


def _ask(place: Path, cases: list[str]) -> dict[str, float]:
    command = [str(place / ".venv/bin/python"), __file__, "--measure", str(place), *cases]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=place)
    found: dict[str, float] = json.loads(made.stdout)
    return found


def _measured(place: Path, cases: list[str]) -> Iterator[tuple[str, float]]:
    """Each case in this process, with the code of the checkout at `place`."""
    sys.path[:0] = [str(place), str(place / "tests/golden")]
    for name in cases:
        case = CASES[name]
        raw, count = case.content()
        _run(case, raw)  # compiles, and fills the caches
        gc.collect()
        gc.disable()
        taken = min(_run(case, raw) for _ in range(3))
        gc.enable()
        yield name, taken / count * 1e6


class Case:
    """A file, and how it is rewritten."""

    def __init__(
        self, content: Callable[[], tuple[bytes, int]], recipe: Mapping[str, Any], *, buffers: bool = True,
        by_column: bool = False,
    ) -> None:  # fmt: skip
        self.content, self.recipe, self.by_column = content, recipe, by_column
        self.levels = {("variation", _sku(one)): str(one % 6) for one in range(ROWS)} if buffers else {}


def _run(case: Case, raw: bytes) -> float:
    import golden_bench as bench  # of the checkout that is measured

    from cegid_daemon.rewrite import buffers, columns, rewrite, travel
    from cegid_daemon.rewrite.layouts import plain_xml
    from cegid_daemon.rewrite.ports import Job

    def by_column(layout: Any, source: Any, book: Any, tally: Any, **other: Any) -> Iterator[Any]:
        """As two processes do it."""
        for sheet in columns.stocked(plain_xml.read(layout, source, tally), layout, book, tally, **other):
            yield from travel.unpacked(travel.packed(sheet))

    recipe = bench.recipe_of(case.recipe)
    job = Job(7, "Benchmark", bench.NOW, "raw", "", "golden", "main", bench.NOW)
    book, sink = bench.DictBook({("store", ""): "2", **case.levels}), bench.ListSink()
    start = time.process_time()
    done = rewrite(
        recipe, job, lambda: bench.chunks(raw, 1 << 17), book, sink,
        stock=by_column if case.by_column else buffers.of_file,
    )  # fmt: skip
    taken = time.process_time() - start
    assert done.coverage.sent or done.coverage.left_out, done.coverage
    return taken


# -- what is rewritten ------------------------------------------------------------------------------------------------

ROWS = 8_000


def _sku(item: int) -> str:
    return f"200{item:010d}"


def _product(item: int) -> str:
    return f"SYN{item // 8:06d}"


def _rows(titles: str, row: Callable[[int], str]) -> Callable[[], tuple[bytes, int]]:
    head = f"{titles}\r\n" if titles else ""
    return lambda: ((head + "".join(map(row, range(ROWS)))).encode("cp1252"), ROWS)


def _document(root: str, each: Callable[[int], str], count: int) -> Callable[[], tuple[bytes, int]]:
    return lambda: (f'<?xml version="1.0"?>\n<{root}>\n{"".join(map(each, range(count)))}</{root}>\n'.encode(), count)


def _stock_row(one: int) -> str:
    return f"{_product(one)};{_sku(one)};001;{one * 7919 % 100},000;{one % 3},000;;-\r\n"


def _product_row(one: int) -> str:
    kind, sku = ("GEN", "") if one % 8 == 0 else ("DIM", _sku(one))
    start = f"{_product(one):18}038BLUX;{_product(one)};{kind};{sku};Label {one};038;BLU"
    return f"{start};39,90;-;{one % 90},000;1,000;0,000\r\n"


def _item(one: int) -> str:
    return (
        f"<Item><Barcode>{_sku(one)}</Barcode><ItemCode>{_product(one)}</ItemCode><Warehouse>001</Warehouse>"
        f"<Physical>{one * 7919 % 100}.000</Physical><Reserved>1.000</Reserved><Closed>-</Closed></Item>\n"
    )


def _nested(one: int) -> str:
    inner = "".join(
        f"<Variation><Barcode>{_sku(one * 4 + at)}</Barcode><Stock>{at}</Stock></Variation>" for at in range(4)
    )
    return (
        f"<Product><Code>{one:06d}</Code><Label>Label {one}</Label><Category>Shoes</Category><Price>39.90</Price>"
        f"<Stock>12</Stock><Variations>{inner}</Variations></Product>\n"
    )


def _order(one: int) -> str:
    lines = "".join(
        f"<Item><ProductReference>{at:06d}</ProductReference><VariationReference>{_sku(at)}</VariationReference>"
        f"<VariationEAN>{_sku(at)}</VariationEAN><Price>39.90</Price><Discount>0.00</Discount><Quantity>2</Quantity></Item>"
        for at in range(3)
    )
    return (
        f"<Order><OrderID>{one:010d}</OrderID><CustomerID>00077</CustomerID><OrderStatus>Approved</OrderStatus>"
        "<Addresses><Address><AddressType>BT</AddressType><FirstName>Ann</FirstName><LastName>Example</LastName>"
        "<AddressLine1>1 Street</AddressLine1><PostCode>02500</PostCode><Country><ISO>FR</ISO></Country>"
        "</Address></Addresses><ShippingSku></ShippingSku><ShippingCost>0.00</ShippingCost><OrderTotal>79.80</OrderTotal>"
        f"<DateCreated>2026-11-20T23:56:48+00:00</DateCreated><Items>{lines}</Items></Order>\n"
    )


_STOCK_TITLES = "GA_CODEARTICLE;GA_CODEBARRE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE"
_PRODUCT_TITLES = (
    "GA_ARTICLE;GA_CODEARTICLE;GA_STATUTART;GA_CODEBARRE;GA_LIBELLE;GA_CODEDIM1;GA_CODEDIM2;GA_PVTTC;GA_INVISIBLEWEB;"
    "GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI"
)
_STATUS_TITLES = "$$_REFINTERNECDE;$$_REFEXTERNECDE;$$_REFSUIVICDE;$$_CDEECOMSUIVI;$$_TRACKING;$$_TRANSPORT"

_comma = _rows("sku,stock", lambda one: f"{_sku(one)},{one % 90}\r\n")
_quoted = _rows('"sku","stock"', lambda one: f'"{_sku(one)}","{one % 90}"\r\n')
_stock = _rows(_STOCK_TITLES, _stock_row)
_tabs = _rows(_STOCK_TITLES.replace(";", "\t"), lambda one: _stock_row(one).replace(";", "\t").replace(",", "."))
_fixed = _rows("", lambda one: f"STKC1 {_sku(one):18}{_product(one):18}{'001':6}{f'{one % 90},000':>12}{'':>24}-\r\n")
_products = _rows(_PRODUCT_TITLES, _product_row)
_status = _rows(_STATUS_TITLES, lambda one: f"CC{one};{one:010d};T{one};003;TRK{one};LAP\r\n")
_fields = _rows(
    "Group Reference,Reference,Name,CEGID Stock Buffer",
    lambda one: f"{_product(one)},{_sku(one)},Label {one},{one % 5}\r\n",
)
_items = _document("Stock", _item, ROWS)
_catalogue = _document("Products", _nested, ROWS // 4)
_orders = _document("Responses", _order, ROWS // 10)

CASES: dict[str, Case] = {
    "csv": Case(_comma, {"layout": _TABLE | {"delimiter": ","}, "text": _LINES}),
    "csv, no buffers": Case(_comma, {"layout": _TABLE | {"delimiter": ","}, "text": _LINES}, buffers=False),
    "csv, quoted": Case(_quoted, {"layout": _TABLE | {"delimiter": ",", "quote": '"'}, "text": _LINES}),
    "y2-stock-csv": Case(_stock, {"layout": "y2-stock-csv", "template": _STOCK}),
    "y2-stock-csv, no buffers": Case(_stock, {"layout": "y2-stock-csv", "template": _STOCK}, buffers=False),
    "y2-stock-csv, macro": Case(_stock, {"layout": "y2-stock-csv", "text": _MACRO}),
    "y2-stock-csv, sum_by": Case(_stock, {"layout": {"extends": "y2-stock-csv", "sum_by": "sku"}, "template": _STOCK}),
    "y2-stock-tab": Case(_tabs, {"layout": "y2-stock-tab", "template": _STOCK}),
    "y2-stock-asc": Case(_fixed, {"layout": "y2-stock-asc", "template": _STOCK}),
    "xml, flat": Case(_items, {"layout": "cegid-stock-xml", "template": _STOCK}),
    "xml, flat, no buffers": Case(_items, {"layout": "cegid-stock-xml", "template": _STOCK}, buffers=False),
    "xml, by column": Case(_items, {"layout": "cegid-stock-xml", "template": _STOCK}, by_column=True),
    "xml, by column, no buffers": Case(
        _items, {"layout": "cegid-stock-xml", "template": _STOCK}, buffers=False, by_column=True
    ),
    "product-add": Case(_catalogue, {"layout": "cegid-products-xml", "template": "aurora/product-add.xml.j2"}),
    "product-add-rows": Case(_products, {"layout": "y2-products-csv", "template": "aurora/product-add-rows.xml.j2"}),
    "order-status": Case(_status, {"layout": "y2-order-status", "template": "aurora/order-status.xml.j2"}),
    "order-piece": Case(_orders, {"layout": "aurora-order-export", "template": "cegid/order-piece.asc.j2"}),
    "order-records": Case(_orders, {"layout": "aurora-order-export", "template": "cegid/order-records.csv.j2"}),
    "order.xml": Case(_orders, {"layout": "aurora-order-export", "template": "cegid/order.xml.j2"}),
    "aurora-product-fields": Case(_fields, {"layout": "aurora-product-fields"}),
}

if __name__ == "__main__":
    main()
