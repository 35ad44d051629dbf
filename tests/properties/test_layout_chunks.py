"""A file gives the same records however it is cut into chunks, and delimited rows come back as they were written."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite import layouts
from cegid_daemon.rewrite.recipe import Field, Layout, Proof
from cegid_daemon.rewrite.tally import Tally

LAYOUTS = [
    Layout("csv", "delimited"),
    Layout("quoted", "delimited", quote='"', proof=Proof(trailer="END", count="r['2']")),
    Layout("fixed", "fixed", fields=(Field("A", 1, 3), Field("B", 4, 5))),
    Layout("groups", "records", types={"H": ("A", "B"), "L": ("A",)}),
    Layout("xml", "xml", record="P"),
]
bodies = st.one_of(
    st.text('AB;1,é"\r\n', max_size=60).map(lambda text: "A;B\n" + text),
    st.lists(st.sampled_from(["H;1;2", "L;3", "", "END;1", "é;1"]), max_size=6).map("\r\n".join),
    st.lists(st.sampled_from(["<P>", "</P>", "<A>é</A>", "<B x='1'/>", "\n", "<G>", "</G>"]), max_size=10).map(
        lambda parts: "<F>" + "".join(parts) + "</F>"
    ),
)
encodings = st.sampled_from(["utf-8", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
cuts = st.lists(st.integers(0, 200), max_size=8)


def outcome(layout: Layout, chunks: Sequence[bytes]) -> object:
    """The records, or the fault, of one reading."""
    tally = Tally()
    try:
        found = [(dict(r), r.number, r.line) for r in layouts.read(layout, lambda: chunks, tally)]
    except BadInput as error:
        never_began = "Start tag expected" in error.why  # libxml counts lines ahead of the root by the chunk
        return (error.what, 0 if never_began else error.where.line)
    assert tally.read == len(found) + sum(tally.left_out.values())
    return found


@given(st.sampled_from(LAYOUTS), bodies, encodings, cuts)
def test_the_chunks_do_not_matter(layout: Layout, body: str, encoding: str, places: list[int]) -> None:
    raw = body.encode(encoding)
    ends = sorted({min(place, len(raw)) for place in places} | {0, len(raw)})
    chunks = [raw[start:end] for start, end in itertools.pairwise(ends)]
    assert outcome(layout, chunks) == outcome(layout, [raw])


cells = st.text(st.characters(exclude_characters=';\r\n\0"', exclude_categories=["Cs"]), max_size=8).map(str.strip)


@given(st.lists(st.tuples(cells, cells, st.sampled_from(["x", "0"])), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_delimited_rows_come_back_as_they_were_written(rows: list[tuple[str, ...]], end: str) -> None:
    body = end.join(["A;B;C", *(";".join(row) for row in rows)])
    found = layouts.read(Layout("csv", "delimited", encoding="utf-8"), lambda: [body.encode()], Tally())
    assert [tuple(r.values()) for r in found] == rows


@given(st.lists(st.tuples(cells, cells), max_size=8))
def test_fixed_lines_come_back_as_they_were_written(rows: list[tuple[str, ...]]) -> None:
    layout = Layout("fixed", "fixed", encoding="utf-8", fields=(Field("A", 2, 8), Field("B", 10, 8)))
    body = "".join(f"#{first:<8}{second:<8}\r\n" for first, second in rows)
    assert [tuple(r.values()) for r in layouts.read(layout, lambda: [body.encode()], Tally())] == rows
