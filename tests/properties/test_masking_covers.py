"""Whatever a file holds: a masked field shows nothing, every other byte stays, however the file is cut."""

from __future__ import annotations

import csv
import io
from xml.sax.saxutils import escape, quoteattr

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.masking import Fields, Values
from cegid_daemon.rewrite.masking.fields import starred
from cegid_daemon.rewrite.recipe import Layout, Output, Recipe, Templates

CHARACTERS = st.characters(exclude_categories=["C", "Zl", "Zp"]) | st.sampled_from(" *\"'<>&;é€")
CELLS = st.text(CHARACTERS, max_size=12)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6)
CUTS = st.integers(1, 40)
FIELDS = Fields.of(["NAME"])


def mask(layout: Layout, content: bytes, cut: int, values: Values | None = None) -> bytes:
    chunks = [content[at : at + cut] for at in range(0, len(content), cut)]
    return b"".join(masking.received(layout, FIELDS, lambda: chunks, values or Values()))


def table(rows: list[tuple[str, ...]]) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows([("SKU", "NAME", "NOTE"), *rows])
    return out.getvalue()


@given(ROWS, CUTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]))
def test_quoted_rows(rows, cut, encoding):
    layout = Layout("l", "delimited", quote='"', encoding=encoding)
    after = mask(layout, table(rows).encode(encoding), cut).decode(encoding)
    expected = [["SKU", "NAME", "NOTE"], *([one, starred(two), three] for one, two, three in rows)]
    assert list(csv.reader(io.StringIO(after, newline=""), delimiter=";")) == expected


@given(ROWS, CUTS, st.sampled_from(["\n", "\r\n"]))
def test_plain_rows(rows, cut, end):
    rows = [tuple(cell.replace(";", ",") for cell in row) for row in rows]
    lines = ["SKU;NAME;NOTE", *(";".join(row) for row in rows)]
    masked = ["SKU;NAME;NOTE", *(f"{one};{starred(two)};{three}" for one, two, three in rows)]
    assert mask(Layout("l", "delimited"), end.join(lines).encode(), cut) == end.join(masked).encode()


@given(ROWS, CUTS)
def test_elements(rows, cut):
    def document(names: list[str]) -> bytes:
        body = "".join(
            f"<R a={quoteattr(row[0])}><NAME>{name}</NAME><NOTE>{escape(row[2])}</NOTE></R>\n"
            for row, name in zip(rows, names, strict=True)
        )
        return f"<Feed>{body}</Feed>\n".encode()

    values = Values()
    after = mask(Layout("l", "xml", record="R"), document([escape(row[1]) for row in rows]), cut, values)
    assert after == document([starred(row[1]) for row in rows])
    assert len(etree.fromstring(after)) == len(rows)
    known = values.index()
    assert all(known.holds(row[1].strip()) for row in rows if len(row[1].strip()) >= 4)


@given(ROWS)
def test_in_a_part_every_value_that_is_a_cell_of_its_own_is_gone(rows):
    cells = [cell.strip().replace(";", ",") for row in rows for cell in row[1:2]]
    values = Values()
    for cell in cells:
        values.add(cell)
    recipe = Recipe(Layout("l", "delimited"), Templates("a.csv.j2", {}), Output())
    before = "\n".join(f"7;{cell};8" for cell in cells)
    after = b"".join(masking.made(recipe, FIELDS, values, lambda: [before.encode()])).decode()
    assert len(after) == len(before)
    for cell, line in zip(cells, after.splitlines() if cells else [], strict=True):
        if len(cell) >= 4 and any(map(str.isalnum, cell)):
            assert line == f"7;{'*' * len(cell)};8"
