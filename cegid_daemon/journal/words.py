"""The words of a text, as the search knows them: folded, so that how they are typed does not matter. Pure.

What is a letter comes from Python's Unicode tables; `EDITION` changes with them, and with any change made here, so that
an index made by other rules is made anew.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata

EDITION = f"1, Unicode {unicodedata.unidata_version}"
HEAD = 4 << 10  # bytes that the encoding is guessed from
_LONGEST = 64  # characters of a word that count
_WORD = re.compile(r"[^\W_]{2,}")
_ACCENT = re.compile("[\u0300-\u036f]")


def words_in(text: str) -> list[str]:
    """The words of a text in their order: letters and digits, at least two, in small letters and without accents."""
    return [word[:_LONGEST] for word in _WORD.findall(_folded(text))]


def words_of(body: bytes) -> set[str]:
    """The words of a whole file, names of elements included; characters that XML spells by number are read."""
    text = body.decode(encoding_of(body[:HEAD]), "replace")
    return set(words_in(html.unescape(text) if text.lstrip("\ufeff \r\n\t").startswith("<") else text))


def encoding_of(head: bytes) -> str:
    """The encoding that the first `HEAD` bytes, or all there are, speak for; cp1252 fits always."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    for encoding, nul in (("utf-16-le", slice(1, 200, 2)), ("utf-16-be", slice(0, 200, 2))):
        column = head[nul]
        if column and column.count(0) > len(column) // 2:
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return _ACCENT.sub("", unicodedata.normalize("NFKD", text.casefold()))
