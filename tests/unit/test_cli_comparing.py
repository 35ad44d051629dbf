"""Bytes as text for a person, as `log diff` reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cegid_daemon.cli.comparing import lines_of, text_of

TEXT = "GA_LIBELLE;Prix\r\nCafé crème;3,50\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_reads_the_same_in_every_encoding_cegid_writes(encoding: str) -> None:
    assert lines_of(TEXT.encode(encoding)) == ["GA_LIBELLE;Prix", "Café crème;3,50"]


def test_xml_on_one_line_is_broken_between_elements_so_that_a_change_shows_where_it_is() -> None:
    xml = f"<a>{'<b>1</b>' * 200}</a>"
    assert lines_of(xml.encode())[:3] == ["<a>", "<b>1</b>", "<b>1</b>"]


def test_xml_with_lines_of_its_own_keeps_them() -> None:
    assert lines_of(b"<a>\n<b>1</b><c/>\n</a>") == ["<a>", "<b>1</b><c/>", "</a>"]


@given(st.binary(max_size=300))
def test_any_bytes_become_a_text(body: bytes) -> None:
    assert isinstance(text_of(body), str)
