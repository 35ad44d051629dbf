"""Bytes to lines: encodings, line ends, and the place of what does not fit."""

from __future__ import annotations

import codecs
from collections.abc import Callable

import pytest

from cegid_daemon.errors import BadInput, ConfigurationError
from cegid_daemon.rewrite.layouts import text

TEXT = "Dépôt;Physique\r\nÉté;1,000\r\n"


def of(body: bytes, step: int = 7) -> Callable[[], list[bytes]]:
    return lambda: [body[start : start + step] for start in range(0, len(body), step)]


def read(body: bytes, encoding: str = "auto", step: int = 7) -> list[str]:
    return [line for block in text.lines(of(body, step), encoding) for line in block]


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    "body",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("cp1252"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8-bom", "cp1252", "utf-16-le-bom", "utf-16-be-bom", "utf-16-le", "utf-16-be"],
)
def test_the_encoding_is_found(body: bytes, step: int) -> None:
    assert read(body, step=step) == ["Dépôt;Physique", "Été;1,000"]


def test_an_accent_far_into_a_file_decides_for_all_of_it() -> None:
    body = b"plain;1\n" * 20_000 + "é;1\n".encode("cp1252")
    assert text.detect(of(body, 4096)()) == "cp1252"
    assert read(body, step=4096)[-1] == "é;1"


@pytest.mark.parametrize("body", [b"", b"\n", b"a", b"a\nb", b"a\r\nb\r\n", b"a\n\n\nb\n"])
def test_line_ends_are_lf_or_crlf_and_the_last_needs_none(body: bytes) -> None:
    expected = body.decode().replace("\r\n", "\n").split("\n")
    assert read(body, step=1) == (expected if expected[-1] else expected[:-1])


def test_a_line_without_an_end_is_marked() -> None:
    ended, cut = read(b"a\nb")
    assert not isinstance(ended, text.Unended)
    assert isinstance(cut, text.Unended)


@pytest.mark.parametrize(
    ("body", "encoding", "line", "why"),
    [
        (b"a\nb\n\xff;1\n", "utf-8", 3, "byte 5"),
        (b"a\nb\x81\n", "cp1252", 2, "byte 4 of the file does not fit the encoding cp1252"),
        (b"a\nb\xc3", "utf-8", 2, "byte 4"),
        (b"a\nb\0c\n", "auto", 2, "another encoding"),
        (b"a\nb\rc\n", "auto", 2, "LF or CRLF"),
        ("ab\n".encode("utf-16-le") + b"\x00\xd8a", "utf-16-le", 2, "byte 7"),
        ("a\nb".encode("utf-16"), "cp1252", 1, "another encoding"),
    ],
)
def test_what_does_not_fit_fails_with_its_line(body: bytes, encoding: str, line: int, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(body, encoding)
    assert caught.value.where.line == line
    assert why in caught.value.why


def test_a_mark_in_a_named_encoding_is_no_text() -> None:
    assert read(codecs.BOM_UTF8 + b"a\n", "utf-8") == ["a"]
    assert read(codecs.BOM_UTF16_BE + "a\n".encode("utf-16-be"), "utf-16") == ["a"]
    assert read("ab\n".encode("utf-16-be"), "utf-16") == ["ab"]


@pytest.mark.parametrize("encoding", ["klingon", "base64", ""])
def test_an_unknown_encoding_is_a_fault_of_the_configuration(encoding: str) -> None:
    with pytest.raises(ConfigurationError):
        read(b"a\n", encoding)


def test_a_line_that_never_ends_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE", 100)
    with pytest.raises(BadInput, match="never ends"):
        read(b"x" * 1000, step=50)
