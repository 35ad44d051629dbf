"""The preview of an import: what it counts, and what it needs for it."""

from __future__ import annotations

import io
import tracemalloc
from types import SimpleNamespace
from typing import cast

import pytest

from cegid_daemon.console.ground import Reading
from cegid_daemon.console.importpages import previewed, rows_of
from cegid_daemon.errors import Refused

HEAD = b"store,level,key,value\n"
BOOK = {("main", "product", "P"): "3", ("main", "store", ""): "1"}


def reading() -> Reading:
    def get(store: str, level: str, key: str) -> object:
        value = BOOK.get((store, level, key))
        return SimpleNamespace(value=value) if value is not None else None

    return cast(Reading, SimpleNamespace(book=SimpleNamespace(get=get)))


def test_the_last_row_of_a_key_counts():
    rows = rows_of(HEAD + b"main,product,P,4\nmain,product,P,3\nmain,product,Q,2\nmain,store,,1\nelse,store,,9\n")
    found = previewed(reading(), rows, {"main"})
    assert (found.changed, found.same, found.report.read) == (1, 2, 5)
    assert found.examples == [("main", "product", "Q", "", "2")]


def test_a_large_import_needs_little_for_each_row():
    count = 100_000
    body = io.BytesIO(HEAD + b"".join(b"main,variation,SKU%07d,%d\n" % (number, number % 9) for number in range(count)))
    tracemalloc.start()
    try:
        found = previewed(reading(), rows_of(body), {"main"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.changed == count
    assert peak / count < 160


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"main,product," + b"x" * 200_000 + b",3\n",
        HEAD + b"main,product,a,3\n" * 9_000 + b"main,product,\xff\xfe,3\n",
        "store,level,key,value\nmain,product,a,3\n".encode("utf-16")[:-1],
    ],
    ids=["a cell of 200 kB", "broken UTF-8 far on", "UTF-16 that is cut"],
)
def test_what_cannot_be_read_to_its_end_is_refused_with_its_row(body):
    with pytest.raises(Refused, match="cannot be read as a table"):
        previewed(reading(), rows_of(body), {"main"})
