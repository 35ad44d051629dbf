"""How text becomes bytes: encodings and marks, line ends, transliteration, size and hash."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from cegid_daemon.errors import BadOutput, ConfigurationError
from cegid_daemon.rewrite.output import Outlet, codec, pieces
from cegid_daemon.rewrite.recipe import Output
from cegid_daemon.rewrite.record import Record


class Written:
    """A part writer that remembers."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def close(self) -> None:
        pass


def written(output: Output, *texts: str, recent=(), notes: Counter[str] | None = None) -> bytes:
    writer = Written()
    notes = Counter() if notes is None else notes
    outlet = Outlet(output, "a.j2", writer, note=lambda text, n: notes.update({text: n}), recent=lambda: recent)
    for text in texts:
        outlet.write(text)
    outlet.finish()
    content = b"".join(writer.chunks)
    assert (outlet.size, outlet.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


@pytest.mark.parametrize(
    ("output", "content"),
    [
        (Output(), "é€".encode()),
        (Output(bom=True), b"\xef\xbb\xbf" + "é€".encode()),
        (Output(encoding="utf-8-sig"), b"\xef\xbb\xbf" + "é€".encode()),
        (Output(encoding="windows-1252"), b"\xe9\x80"),
        (Output(encoding="utf-16"), b"\xff\xfe\xe9\x00\xac\x20"),
        (Output(encoding="utf-16-le"), b"\xe9\x00\xac\x20"),
        (Output(encoding="utf-16-be", bom=True), b"\xfe\xff\x00\xe9\x20\xac"),
    ],
)
def test_each_encoding_is_written_with_its_mark_where_it_has_one(output, content):
    assert written(output, "é", "€") == content


@pytest.mark.parametrize(
    "output", [Output(encoding="klingon"), Output(encoding="rot13"), Output(encoding="cp1252", bom=True)]
)
def test_an_encoding_that_cannot_be_is_a_fault_of_the_configuration(output):
    with pytest.raises(ConfigurationError):
        codec(output)


def test_a_character_the_encoding_lacks_fails_naming_record_and_field():
    records = [Record(LIBELLE="chemise"), Record(LIBELLE="été", COULEUR="Ω")]
    records[0].number, records[1].number = 7, 8
    with pytest.raises(BadOutput, match=r"the character 'Ω' \(U\+03A9\) cannot be written in cp1252") as caught:
        written(Output(encoding="cp1252"), "chemise;été;Ω", recent=records)
    assert (caught.value.where.record, caught.value.where.field) == (8, "COULEUR")


def test_a_character_deep_in_an_inner_record_is_found():
    order, line = Record(OrderID="1"), Record(LIBELLE="Ω")
    order.number = 3
    order.hold("CCL", [line])
    with pytest.raises(BadOutput) as caught:
        written(Output(encoding="cp1252"), "Ω", recent=[order])
    assert (caught.value.where.record, caught.value.where.field) == (3, "LIBELLE")


def test_a_character_of_the_template_itself_names_the_template():
    with pytest.raises(BadOutput) as caught:
        written(Output(encoding="ascii"), "é")
    assert (caught.value.where.file, caught.value.where.record) == ("a.j2", 0)


def test_transliterate_spells_only_what_the_encoding_lacks_and_counts_it():
    notes: Counter[str] = Counter()
    output = Output(encoding="cp1252", transliterate=True)
    assert written(output, "é€ Łódź", " e\u0301 \u200b\U0010ffff", notes=notes).decode("cp1252") == "é€ Lódz é ?"
    assert notes == {"transliterated": 4}


@pytest.mark.parametrize(
    ("newline", "content"),
    [("keep", b"a\r\nb\rc\nd\r"), ("lf", b"a\nb\nc\nd\n"), ("crlf", b"a\r\nb\r\nc\r\nd\r\n")],
)
def test_line_ends_are_made_one_across_the_borders_of_pieces(newline, content):
    text = "a\r\nb\rc\nd\r"
    assert written(Output(newline=newline), text) == content
    assert written(Output(newline=newline), *text) == content


def test_what_the_check_refuses_is_refused_when_the_part_is_finished():
    with pytest.raises(BadOutput, match="not well-formed"):
        written(Output(check="xml"), "<a>")


def test_pieces_are_fewer_and_nothing_is_lost_where_fragments_are_blank():
    fragments = [""] * 2000 + ["a", "b"] * 1000
    gathered = list(pieces(fragments))
    assert "".join(gathered) == "ab" * 1000
    assert len(gathered) < 20
