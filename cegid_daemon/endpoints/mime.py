"""Answers in wrapping: MIME parts, base64, zlib and gzip taken off, as a stream in bounded memory.

Owns only the wrapping: what comes out is the XML as the API wrote it. Opens nothing and keeps nothing.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from email.parser import HeaderParser

from cegid_daemon.errors import Unsure

_STEP = 256 * 1024  # bytes inflated at once
_MOST_HEADER = 64 * 1024
_BLANKS = b" \t\r\n"
_BASE64_OF_ZLIB = (b"eJ", b"eN", b"eA", b"H4sI")  # how base64 of zlib and gzip begins


def unwrapped(headers: Mapping[str, str], chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The plain bytes of an HTTP body. `headers` are those of the answer. Raises Unsure for what cannot be read."""
    stream = _Stream(chunks)
    outer = _message(headers)
    if not outer.is_multipart_type and stream.peek(13).lower() == b"mime-version:":
        outer = stream.header()
    yield from _content(outer, stream)


class _Head:
    """The header of a body or of a part of it, as far as it matters here."""

    def __init__(self, message: Message) -> None:
        self.is_multipart_type = message.get_content_maintype() == "multipart"
        self.boundary = (message.get_boundary() or "").encode("latin-1", "replace")
        self.is_base64 = str(message.get("Content-Transfer-Encoding", "")).strip().lower() == "base64"
        self.is_text = "Content-Type" in message and message.get_content_type() == "text/plain"


def _message(headers: Mapping[str, str]) -> _Head:
    message = Message()
    for name in ("Content-Type", "Content-Transfer-Encoding"):
        if headers.get(name):
            message[name] = headers[name]
    return _Head(message)


def _content(head: _Head, stream: _Stream) -> Iterator[bytes]:
    if not head.is_multipart_type:
        yield from _plain(head.is_base64, stream.rest())
        return
    if not head.boundary:
        raise _unreadable("its parts have no boundary")
    for _ in stream.until(b"--" + head.boundary):
        pass  # the preamble says nothing
    mark = b"\n--" + head.boundary
    while stream.line().strip(_BLANKS) != b"--":
        part = stream.header()
        body = stream.until(mark)
        if not part.is_text:
            yield from _plain(part.is_base64, body)
            return
        for _ in body:
            pass  # a covering note
    raise _unreadable("none of its parts is an answer")


def _plain(is_base64: bool, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Takes base64 and compression off where they are; they are told by how the bytes begin."""
    stream = _Stream(_from_base64(chunks) if is_base64 else chunks)
    if not is_base64 and stream.peek(4).startswith(_BASE64_OF_ZLIB):
        stream = _Stream(_from_base64(stream.rest()))
    start = stream.peek(2)
    inflate = start == b"\x1f\x8b" or (len(start) == 2 and start[0] == 0x78 and int.from_bytes(start, "big") % 31 == 0)
    yield from inflated(stream.rest()) if inflate else stream.rest()


def inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What zlib or gzip made small, at most 256 KiB at a time."""
    inflater = zlib.decompressobj(wbits=47)
    try:
        for chunk in chunks:
            piece = chunk
            while piece and not inflater.eof:
                yield inflater.decompress(piece, _STEP)
                piece = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error as exc:
        raise _unreadable(f"its compression is broken ({exc})") from exc
    if not inflater.eof:
        raise _unreadable("its compressed part is cut off")


def _from_base64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        held += chunk.translate(None, _BLANKS)
        whole = len(held) - len(held) % 4
        yield _decoded(held[:whole])
        held = held[whole:]
    yield _decoded(held)


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except binascii.Error as exc:
        raise _unreadable(f"its base64 is broken ({exc})") from exc


class _Stream:
    """Bytes that can be looked at before they are taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._ended = False

    def _more(self) -> bool:
        while not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
            elif chunk:
                self._held += chunk
                return True
        return False

    def peek(self, length: int) -> bytes:
        """The next bytes after blanks, fewer at the end; nothing is taken but the blanks."""
        self._held = self._held.lstrip(_BLANKS)
        while len(self._held) < length and self._more():
            self._held = self._held.lstrip(_BLANKS)
        return self._held[:length]

    def line(self) -> bytes:
        """The next line with its end."""
        while (end := self._held.find(b"\n")) < 0 and self._more():
            if len(self._held) > _MOST_HEADER:
                raise _unreadable("a line of its header is endless")
        line = self._held[: end + 1] if end >= 0 else self._held
        self._held = self._held[len(line) :]
        return line

    def header(self) -> _Head:
        """The lines up to a blank one."""
        lines: list[bytes] = []
        size = 0
        while (line := self.line()).strip(_BLANKS):
            lines.append(line)
            size += len(line)
            if size > _MOST_HEADER:
                raise _unreadable("its header is endless")
        return _Head(HeaderParser().parsestr(b"".join(lines).decode("latin-1")))

    def until(self, mark: bytes) -> Iterator[bytes]:
        """The bytes before `mark`, which is taken too. Raises Unsure if it never comes."""
        while (at := self._held.find(mark)) < 0:
            ready = max(0, len(self._held) - len(mark) + 1)
            yield self._held[:ready]
            self._held = self._held[ready:]
            if not self._more():
                raise _unreadable("its last part has no end")
        yield self._held[:at]
        self._held = self._held[at + len(mark) :]

    def rest(self) -> Iterator[bytes]:
        """Everything that is left."""
        while self._held or self._more():
            piece, self._held = self._held, b""
            yield piece


def _unreadable(why: str) -> Unsure:
    return Unsure("the API's answer cannot be read", why=why, remedy="Ask whoever runs the API what it answered.")
