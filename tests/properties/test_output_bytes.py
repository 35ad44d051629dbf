"""However the text is cut into pieces, the same bytes come out, and the same fault is found."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.errors import BadOutput
from cegid_daemon.rewrite.checks import check
from cegid_daemon.rewrite.filters import flat
from cegid_daemon.rewrite.output import Outlet
from cegid_daemon.rewrite.recipe import Output
from cegid_daemon.rewrite.templates import file_name

TEXT = st.text(st.sampled_from("ab;é€Ω\r\n\t<") | st.characters(exclude_categories=["Cs"]), max_size=60)
PIECES = st.lists(TEXT, max_size=8)
OUTPUTS = st.builds(
    Output,
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-be"]),
    newline=st.sampled_from(["keep", "lf", "crlf"]),
    bom=st.booleans(),
)


class Bytes(bytearray):
    """A part writer."""

    def write(self, chunk: bytes) -> None:
        self.extend(chunk)

    def close(self) -> None:
        pass


def written(output: Output, pieces: list[str], notes: list[tuple[str, int]]) -> bytes:
    writer = Bytes()
    outlet = Outlet(output, "a.j2", writer, note=lambda text, times: notes.append((text, times)))
    for piece in pieces:
        outlet.write(piece)
    outlet.finish()
    return bytes(writer)


@given(OUTPUTS, PIECES)
def test_pieces_make_the_same_bytes_as_the_whole(output, pieces):
    content = written(output, pieces, [])
    assert content == written(output, ["".join(pieces)], [])
    ends = {"keep": None, "lf": "\n", "crlf": "\r\n"}[output.newline]
    text = "".join(pieces)
    expected = re.sub("\r\n|\r|\n", ends, text) if ends else text
    codec = output.encoding if output.encoding != "utf-16" else "utf-16-le"
    marked = output.bom or output.encoding == "utf-16"
    assert content == (("\ufeff" if marked else "") + expected).encode(codec)


@given(PIECES)
def test_transliterated_text_always_fits_its_encoding_and_counts_what_changed(pieces):
    notes: list[tuple[str, int]] = []
    output = Output(encoding="cp1252", transliterate=True)
    content = written(output, pieces, notes)
    content.decode("cp1252")
    lossless = all(_fits(char) for piece in pieces for char in piece)
    assert lossless == (not notes) or any(char >= "\u0300" for piece in pieces for char in piece)


def _fits(char: str) -> bool:
    try:
        char.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


@given(st.lists(st.text(st.sampled_from("a;\r\n"), max_size=9), max_size=6), st.integers(1, 9))
def test_columns_judges_alike_whatever_the_chunks(rows, step):
    content = "\n".join(rows).encode()
    assert _columns(content, step) == _columns(content, len(content) or 1)


def _columns(content: bytes, step: int) -> str:
    checking = check(Output(check="columns"), "utf-8", "a.j2")
    try:
        for at in range(0, len(content), step):
            checking.feed(content[at : at + step])
        checking.close()
    except BadOutput as fault:
        return str(fault)
    return ""


@given(st.text())
def test_flat_text_stays_on_its_line_in_its_column_at_its_length(text):
    flattened = flat(text, ";")
    assert len(flattened.splitlines()) <= 1
    assert not set(flattened) & set(";\t\0")
    assert len(flattened) == len(text)


@given(st.text(st.characters(exclude_characters="/\\\0{}%#"), min_size=1, max_size=400), st.integers(1, 999))
def test_a_name_never_exceeds_what_a_folder_takes_and_keeps_the_part(stem, part):
    from cegid_daemon.rewrite.templates import SourceSeen

    stem = stem.encode("utf-8", "replace").decode()
    seen = {"source": SourceSeen(stem + ".csv", stem, ".csv", ""), "part": part}
    name = file_name("{{ source.stem }}.{{ part }}.xml", seen)
    assert len(name.encode()) <= 255
    assert name.endswith(f".{part}.xml")
