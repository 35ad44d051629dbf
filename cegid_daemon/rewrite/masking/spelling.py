"""Bytes to text and back to the same bytes: encoding and byte order mark of a file, and the proof that both are right.

Reuses the detection of the layouts. A file whose text does not give its own bytes again cannot be masked: what is not
a masked field must stay byte for byte.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cegid_daemon.errors import BadInput
from cegid_daemon.rewrite.layouts.text import Source, detect, head_of

_DECLARED = re.compile(rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_MARKED = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}
_XML_STARTS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
               (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spelling:
    """How text stands in a file: Python's name of the encoding, and the byte order mark that is really there."""

    codec: str
    mark: bytes = b""


def of_text(source: Source, encoding: str) -> Spelling:
    """The spelling of a text file; `encoding` as in a layout."""
    name = detect(source()) if encoding == "auto" else encoding
    if codecs.lookup(name).name == "utf-16":
        head = head_of(source())
        found = next((codec for mark, codec in _XML_STARTS[1:3] if head.startswith(mark)), detect([head]))
        return marked(source, found if found.startswith("utf-16-") else "utf-16-le")
    return marked(source, name)


def of_xml(source: Source, encoding: str) -> Spelling:
    """The spelling of an XML document: as the layout says, else byte order mark, declaration, UTF-8."""
    head = head_of(source())
    known = next((codec for start, codec in _XML_STARTS if head.startswith(start)), "")
    if known and (encoding == "auto" or codecs.lookup(encoding).name == "utf-16"):
        return marked(source, known)
    declared = _DECLARED.match(head)
    return marked(source, (declared[1].decode() if declared else "utf-8") if encoding == "auto" else encoding)


def marked(source: Source, codec: str) -> Spelling:
    """The spelling in a known encoding, with its mark if the file has one."""
    name = codecs.lookup(codec).name
    name = _MARKED.get(name, name)
    mark = "\ufeff".encode(name) if name.startswith("utf") else b""
    return Spelling(name, mark if mark and head_of(source()).startswith(mark) else b"")


def respelled(source: Source, spelling: Spelling, change: Callable[[Iterator[str]], Iterable[str]]) -> Iterator[bytes]:
    """The file with its text changed, in the same spelling. Raises `BadInput` if the spelling is not its own."""
    proof = _Proof(spelling)
    encode = codecs.getincrementalencoder(spelling.codec)("strict").encode
    yield spelling.mark
    for text in change(proof.texts(source())):
        yield encode(text)
    yield encode("", True)
    proof.conclude()


class _Proof:
    """Decodes, and compares what the text would be in bytes with what was read."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._read, self._again = hashlib.sha256(), hashlib.sha256(spelling.mark)

    def texts(self, chunks: Iterable[bytes]) -> Iterator[str]:
        codec, left = self._spelling.codec, len(self._spelling.mark)
        decode = codecs.getincrementaldecoder(codec)("strict").decode
        encode = codecs.getincrementalencoder(codec)("strict").encode
        for chunk in chunks:
            self._read.update(chunk)
            text = decode(chunk[left:])
            left = max(0, left - len(chunk))
            self._again.update(encode(text))
            yield text
        text = decode(b"", True)
        self._again.update(encode(text, True))
        yield text

    def conclude(self) -> None:
        if self._read.digest() != self._again.digest():
            raise BadInput(f"the file does not read back the same in {self._spelling.codec}")
