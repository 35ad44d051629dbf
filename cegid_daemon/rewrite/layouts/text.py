"""Bytes to lines of text, streaming: which encoding a file is in, and its text without guesses.

Owns detection (byte order mark, NUL pattern, strict UTF-8, cp1252) and decoding. Nothing is replaced or dropped: bytes
that do not fit, a NUL, and a carriage return inside a line fail the file with their place.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator

from cegid_daemon.errors import NOTHING, BadInput, ConfigurationError, Place
from cegid_daemon.rewrite.remarks import MIXED_ENCODING
from cegid_daemon.rewrite.tally import Tally

Source = Callable[[], Iterable[bytes]]
"""Opens the received bytes again from the start, in chunks of any size."""

LONGEST_LINE = 4 * 1024 * 1024  # characters; a longer one is no line of a text file, and memory stays bounded


class Unended(str):
    """A last line that no line end follows: it may have been cut off."""

    __slots__ = ()


_HEAD = 64 * 1024
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_UTF8 = re.compile("[\udc80-\udcff]")  # a byte that is none, as `surrogateescape` decodes it
_NO_ASCII = re.compile("[^\0-\x7f\udc80-\udcff]")


def lines(source: Source, encoding: str, tally: Tally | None = None) -> Iterator[list[str]]:
    """The file's lines without their ends (LF or CRLF), in blocks; a last line needs no end.

    `tally` is told where `auto` found no UTF-8.
    """
    if encoding == "auto":
        encoding = detect(source())
        if encoding == "cp1252" and tally is not None:
            _tell_why(source(), tally)
    carry, size, number = list[str](), 0, 1  # the beginning of a line, in pieces
    for text in _unix(decoded(source, encoding)):
        block = text.split("\n")
        if len(block) > 1:
            carry.append(block[0])
            block[0] = "".join(carry)
            carry, size = [], 0
        carry.append(block.pop())
        size += len(carry[-1])
        number += len(block)
        if block:
            yield block
        if size > LONGEST_LINE:
            raise _broken("a line never ends", f"it is longer than {LONGEST_LINE} characters", number)
    if size:
        yield [Unended("".join(carry))]


def _unix(texts: Iterable[str]) -> Iterator[str]:
    """CRLF to LF; a pair cut in two by the end of a chunk is put together first."""
    number, held = 1, ""
    for text in texts:
        whole = held + text
        held = "\r" if whole.endswith("\r") else ""
        whole = whole.removesuffix("\r").replace("\r\n", "\n")
        at = whole.find("\r")
        if at >= 0:
            line = number + whole.count("\n", 0, at)
            yield _whole_lines(whole[:at])  # a fault in an earlier line is told first, however the file was cut
            raise _broken("a carriage return stands inside a line", "lines end in LF or CRLF", line)
        number += whole.count("\n")
        yield whole


def decoded(source: Source, encoding: str) -> Iterator[str]:
    """The file's text in pieces, without a byte order mark. `encoding`: a Python name, or `auto`."""
    encoding = detect(source()) if encoding == "auto" else encoding
    decoder = _decoder(encoding, source)
    offset, number, first = 0, 1, True
    for chunk in _and_end(source()):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = bytes(error.object[: error.start])
            at = offset + len(chunk) - len(error.object) + error.start
            number += before.decode(error.encoding, "ignore").count("\n")
            why = f"byte {at + 1} of the file does not fit the encoding {encoding} ({error.reason})"
            raise _broken("the file cannot be decoded", why, number) from error
        if "\0" in text:
            number += text.count("\n", 0, text.index("\0"))
            yield _whole_lines(text[: text.index("\0")]).removeprefix("\ufeff" if first else "")
            raise _broken("a NUL stands in the text", "the file is in another encoding, or damaged", number)
        offset += len(chunk)
        number += text.count("\n")
        if first and text:
            first, text = False, text.removeprefix("\ufeff")
        yield text


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]


def _and_end(chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield from (chunk for chunk in chunks if chunk)
    yield b""


def _decoder(encoding: str, source: Source) -> codecs.IncrementalDecoder:
    try:
        _refuse_no_charset(encoding)
        "".encode(encoding)
        if codecs.lookup(encoding).name == "utf-16" and not head_of(source()).startswith(_UTF16_MARKS):
            encoding = _by_nuls(head_of(source())) or "utf-16-le"
        return codecs.getincrementaldecoder(encoding)("strict")
    except LookupError as error:
        raise ConfigurationError(
            f"the encoding {encoding!r} is not known",
            where=Place(field="encoding"),
            remedy='Use "auto", "cp1252", "utf-8" or "utf-16"',
        ) from error


def _refuse_no_charset(encoding: str) -> None:
    """Python calls more an encoding than what files are written in; some of those take time by the square."""
    if codecs.lookup(encoding).name.replace("_", "-") in _NO_CHARSETS:
        raise LookupError


def detect(chunks: Iterable[bytes]) -> str:
    """The encoding of a text file: byte order mark, NUL pattern (UTF-16), strict UTF-8 over the whole file, cp1252."""
    remaining = iter(chunks)
    head = head_of(remaining)
    known = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "") or _by_nuls(head)
    if known:
        return known
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        decoder.decode(head)
        for chunk in remaining:
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _tell_why(chunks: Iterable[bytes], tally: Tally) -> None:
    """Says which byte is no UTF-8; where other characters are, that is a remark."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    offset, line, first, other = 0, 1, (0, 0, ""), 0
    for chunk in _and_end(chunks):
        text = decoder.decode(chunk, final=not chunk)
        if not text.isascii():
            found = _NO_UTF8.search(text)
            if found and not first[0]:
                ahead = text[: found.start()]
                at = offset + len(ahead.encode("utf-8", "surrogateescape"))
                first = at + 1, line + ahead.count("\n"), f"0x{ord(found[0]) & 0xFF:02X}"
            other += len(_NO_ASCII.findall(text))
        offset += len(text.encode("utf-8", "surrogateescape"))
        line += text.count("\n")
    at, line, byte = first
    where = f"byte {at}, {byte}"
    tally.encoding = f"cp1252, chosen by auto: the first byte that is no UTF-8 is {where}, in line {line}"
    if other:
        tally.remarks.add(MIXED_ENCODING, line=line, value=where)


def head_of(chunks: Iterable[bytes]) -> bytes:
    """The first bytes, in the chunks as they come; at least `_HEAD` of them where there are as many."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= _HEAD:
            break
    return bytes(head)


def _by_nuls(head: bytes) -> str:
    """UTF-16 without a mark: every second byte of western text is NUL, and nearly none of the others."""
    even, odd, pairs = head[::2].count(0), head[1::2].count(0), len(head) // 2
    if odd * 3 > pairs and even * 10 <= odd:
        return "utf-16-le"
    return "utf-16-be" if even * 3 > pairs and odd * 10 <= even else ""


def _broken(what: str, why: str, line: int = 0) -> BadInput:
    remedy = "Have the sender repair the file, or name its encoding in the layout"
    return BadInput(what, where=Place(line=line), why=why, remedy=remedy).quoting(NOTHING)
