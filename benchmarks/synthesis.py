"""Makes the big synthetic files that benchmarks and slow tests read: nothing in them is real.

Owns their shapes and sizes; the same arguments give the same bytes. Streams to disk, so a million items need no memory.
Run: python benchmarks/synthesis.py {stock-xml,stock-csv,buffers-csv,files} COUNT WHERE
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

BLOCK = 10_000  # lines written at once
ROWS_A_FILE = 40
VARIATIONS_A_PRODUCT = 8
_TITLES = "GA_CODEARTICLE;GA_CODEBARRE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE\r\n"


def sku(item: int) -> str:
    """The bar code of an item: 13 digits, of the range for numbers of one's own."""
    digits = f"200{item:09d}"
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits))
    return f"{digits}{-total % 10}"


def product(item: int) -> str:
    """The product an item is a variation of."""
    return f"SYN-REF{item // VARIATIONS_A_PRODUCT:09d}"


def physical(item: int) -> int:
    """The physical stock of an item, 0 to 99."""
    return item * 7919 % 100


def stock_xml(items: int, place: Path) -> None:
    """A stock XML for the layout `cegid-stock-xml`, 154 bytes an item: 500,000 items are 77 MB."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!-- synthetic -->\n<Stock>\n'
    _write(place, (_item(one) for one in range(items)), head, "</Stock>\n")


def stock_csv(rows: int, place: Path) -> None:
    """A stock CSV for the layout `y2-stock-csv`, a row an item."""
    _write(place, (_row(one) for one in range(rows)), _TITLES)


def buffers_csv(rows: int, place: Path, store: str = "main") -> None:
    """A variation buffer for each of the first `rows` items, for `cegid-daemon buffers import`."""
    lines = (f"{store},variation,{sku(one)},{one % 6}\n" for one in range(rows))
    _write(place, lines, "store,level,key,value\n")


def files(count: int, folder: Path) -> None:
    """`count` stock CSVs of 40 rows each, STOCK00000.csv and so on, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        first = number * ROWS_A_FILE
        rows = (_row(one) for one in range(first, first + ROWS_A_FILE))
        _write(folder / f"STOCK{number:05d}.csv", rows, _TITLES)


def _item(item: int) -> str:
    return (
        f"<Item><Barcode>{sku(item)}</Barcode><ItemCode>{product(item)}</ItemCode><Warehouse>001</Warehouse>"
        f"<Physical>{physical(item):2d}.000</Physical><Closed>-</Closed></Item>\n"
    )


def _row(item: int) -> str:
    return f"{product(item)};{sku(item)};001;{physical(item)},000;{item % 3},000;;-\r\n"


def _write(place: Path, lines: Iterable[str], head: str, foot: str = "") -> None:
    with place.open("w", encoding="utf-8", newline="") as out:
        out.write(head)
        for block in _blocks(iter(lines)):
            out.write(block)
        out.write(foot)


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    while block := "".join(islice(lines, BLOCK)):
        yield block


KINDS: dict[str, Callable[[int, Path], None]] = {
    "stock-xml": stock_xml,
    "stock-csv": stock_csv,
    "buffers-csv": buffers_csv,
    "files": files,
}


def main() -> None:
    """The command line: kind, count, where."""
    parser = argparse.ArgumentParser(description="Makes big synthetic files.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int, help="items, rows or files")
    parser.add_argument("where", type=Path, help="the file, or for `files` the folder")
    chosen = parser.parse_args()
    KINDS[chosen.kind](chosen.count, chosen.where)


if __name__ == "__main__":
    main()
