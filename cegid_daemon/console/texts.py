"""Stored bytes as people read them: text by the page with its lines, or a dump of the bytes. Pure.

Owns the guess of the encoding for showing; the rewriting has its own, exact one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PAGE = 64 << 10  # bytes of text on a page
DUMP = 4 << 10  # bytes of a dump on a page
_WIDTH = 16


def decoded(body: bytes, encoding: str) -> str:
    """Text of a stretch of bytes: what is cut at its ends or broken is shown as such."""
    return body.decode(encoding, "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True, slots=True)
class DumpLine:
    """Sixteen bytes."""

    offset: str
    codes: str
    text: str


def dump(body: bytes, offset: int) -> Iterator[DumpLine]:
    """Bytes as hexadecimal numbers and as characters."""
    for start in range(0, len(body), _WIDTH):
        row = body[start : start + _WIDTH]
        text = "".join(chr(one) if 0x20 <= one < 0x7F else "·" for one in row)
        yield DumpLine(f"{offset + start:08x}", row.hex(" "), text)


def indented(text: str) -> str:
    """XML on one line, broken between elements so that it can be read."""
    if text.lstrip().startswith("<") and text.count("\n") < len(text) // 2_000:
        return text.replace("><", ">\n<")
    return text
