"""One SFTP session over one SSH channel: requests sent ahead, replies matched by their number.

Owns the numbers, the buffers and the greeting; knows no endpoint. paramiko's own SFTP client is not used: it cannot say
which status a server answered, fails on names that are no UTF-8, and has no public way to send requests ahead for many
files. One thread at a time. Raises Status, WireError, EOFError and OSError, which the endpoint translates.
"""

from __future__ import annotations

import struct
from typing import Protocol

from cegid_daemon.endpoints.bounds import Beat, Deadline, no_beat, shortened
from cegid_daemon.endpoints.sftp_packets import (
    Attributes,
    Code,
    Kind,
    Status,
    WireError,
    expect,
    packed,
    take_attributes,
    take_names,
    take_string,
)

_VERSION = 3
_DEFAULT_LENGTH = 32768  # of a read or write, which every server must take
_LONGEST_LENGTH = 261120  # what OpenSSH takes; more makes nothing faster
_LONGEST_PACKET = 1 << 24
_MAX_WAITING = 1 << 25  # bytes of replies that came ahead of the one that is waited for
_MAX_HANDLE = 256  # bytes, by the standard
_MAX_TEXT = 500  # characters of a status that people are shown
_RECEIVE = 1 << 24  # all there is: paramiko moves what is left in its buffer at every call
_SEND = 32768  # about what one SSH packet takes: a longer piece would be copied once for each


class Channel(Protocol):
    """What is needed of an SSH channel; `recv` gives no byte when the other side has ended it."""

    def send(self, s: bytes) -> int:
        """Sends some of the bytes and says how many, within the channel's timeout."""

    def recv(self, nbytes: int) -> bytes:
        """Some bytes, within the channel's timeout."""


class Wire:
    """One SFTP session."""

    def __init__(self, channel: Channel, timeout_seconds: float = 30.0, beat: Beat = no_beat) -> None:
        """Exchanges versions. EOFError, OSError or WireError if that fails."""
        self._channel = channel
        self._seconds = timeout_seconds
        self._beat = beat
        self._deadline = Deadline.of_reply(timeout_seconds, beat)
        self._buffer = bytearray()
        self._next = 1
        self._replies: dict[int, tuple[int, bytes]] = {}
        self._waiting = 0  # bytes in them
        self._asked: set[int] = set()  # of which no reply has come
        self._forgotten: set[int] = set()
        self._outgoing = bytearray()
        self.extensions = self._greet()
        self.read_length, self.write_length = self._limits()

    # requests: each returns its number, for which exactly one reply is to be taken (or forgotten)

    def open(self, path: bytes, flags: int) -> int:
        """Opens a file without changing its attributes."""
        return self._request(Kind.OPEN, packed(path) + struct.pack(">II", flags, 0))

    def close(self, handle: bytes) -> int:
        """Closes a file or folder."""
        return self._request(Kind.CLOSE, packed(handle))

    def read(self, handle: bytes, offset: int, length: int) -> int:
        """Reads at most `length` bytes."""
        return self._request(Kind.READ, packed(handle) + struct.pack(">QI", offset, length))

    def write(self, handle: bytes, offset: int, body: bytes | memoryview) -> int:
        """Writes all of `body`."""
        head = packed(handle) + struct.pack(">QI", offset, len(body))
        return self._request(Kind.WRITE, head, body)

    def lstat(self, path: bytes) -> int:
        """Attributes of the entry itself."""
        return self._request(Kind.LSTAT, packed(path))

    def stat(self, path: bytes) -> int:
        """Attributes of what the entry leads to."""
        return self._request(Kind.STAT, packed(path))

    def fstat(self, handle: bytes) -> int:
        """Attributes of an open file."""
        return self._request(Kind.FSTAT, packed(handle))

    def opendir(self, path: bytes) -> int:
        """Opens a folder."""
        return self._request(Kind.OPENDIR, packed(path))

    def readdir(self, handle: bytes) -> int:
        """The next entries of a folder."""
        return self._request(Kind.READDIR, packed(handle))

    def remove(self, path: bytes) -> int:
        """Removes a file."""
        return self._request(Kind.REMOVE, packed(path))

    def mkdir(self, path: bytes) -> int:
        """Makes a folder."""
        return self._request(Kind.MKDIR, packed(path) + struct.pack(">I", 0))

    def rmdir(self, path: bytes) -> int:
        """Removes an empty folder."""
        return self._request(Kind.RMDIR, packed(path))

    def realpath(self, path: bytes) -> int:
        """The absolute path."""
        return self._request(Kind.REALPATH, packed(path))

    def rename(self, path: bytes, to: bytes) -> int:
        """The plain rename, which by the standard never replaces."""
        return self._request(Kind.RENAME, packed(path) + packed(to))

    def extended(self, name: bytes, *fields: bytes) -> int:
        """A request the server offered as an extension."""
        return self._request(Kind.EXTENDED, b"".join(map(packed, (name, *fields))))

    def forget(self, number: int) -> None:
        """The reply to a request, come or still to come, is of no interest any more."""
        if number in self._replies:
            self._waiting -= len(self._replies.pop(number)[1])
        else:
            self._forgotten.add(number)

    # replies

    def done(self, number: int) -> None:
        """Waits for success. Raises Status otherwise."""
        kind, _body = self._reply(number)
        expect(kind, Kind.STATUS, Kind.EXTENDED_REPLY)

    def handle(self, number: int) -> bytes:
        """Waits for the handle of what was opened."""
        kind, body = self._reply(number)
        expect(kind, Kind.HANDLE)
        handle = take_string(body, 0)[0]
        if len(handle) > _MAX_HANDLE:
            raise WireError(f"a handle of {len(handle)} bytes")
        return handle

    def attributes(self, number: int) -> Attributes:
        """Waits for attributes."""
        kind, body = self._reply(number)
        expect(kind, Kind.ATTRS)
        return take_attributes(body, 0)[0]

    def body(self, number: int, length: int) -> bytes:
        """Waits for bytes read, of which `length` were asked for; none at the end of the file."""
        try:
            kind, body = self._reply(number)
        except Status as status:
            if status.code == Code.EOF:
                return b""
            raise
        expect(kind, Kind.DATA)
        read = take_string(body, 0)[0]
        if len(read) > length:
            raise WireError(f"{len(read)} bytes where {length} were asked for")
        return read

    def names(self, number: int) -> list[tuple[bytes, Attributes]]:
        """Waits for entries; none at the end of the folder."""
        try:
            kind, body = self._reply(number)
        except Status as status:
            if status.code == Code.EOF:
                return []
            raise
        expect(kind, Kind.NAME)
        return list(take_names(body))

    # packets

    def flush(self) -> None:
        """Sends what was requested so far."""
        if self._outgoing:
            packets, self._outgoing = self._outgoing, bytearray()
            rest = memoryview(packets)
            while rest:
                sent = self._channel.send(bytes(rest[:_SEND]))
                if not sent:
                    raise EOFError("the server ended the session")
                rest = rest[sent:]

    def _request(self, kind: Kind, head: bytes, body: bytes | memoryview = b"") -> int:
        number = self._next
        self._next = (self._next + 1) & 0xFFFFFFFF
        self._asked.add(number)
        self._outgoing += struct.pack(">IBI", 5 + len(head) + len(body), kind, number) + head
        self._outgoing += body
        if len(self._outgoing) >= _DEFAULT_LENGTH:
            self.flush()
        return number

    def _reply(self, number: int) -> tuple[int, bytes]:
        """The packet type and what follows the number. Raises Status for anything but success."""
        self.flush()
        self._deadline = Deadline.of_reply(self._seconds, self._beat)
        while number not in self._replies:
            self._take_reply()
        kind, body = self._replies.pop(number)
        self._waiting -= len(body)
        if kind == Kind.STATUS:
            code = struct.unpack_from(">I", body)[0]
            if code != Code.OK:
                text = take_string(body, 4)[0].decode(errors="replace") if len(body) > 4 else ""
                raise Status(code, shortened(text, _MAX_TEXT))
        return kind, body

    def _take_reply(self) -> None:
        """One reply, to whichever request. WireError if nobody asked for it."""
        kind, packet = self._receive()
        got = struct.unpack_from(">I", packet)[0]
        if got not in self._asked:
            raise WireError(f"a reply to request {got}, which was not made")
        self._asked.discard(got)
        if got in self._forgotten:
            self._forgotten.discard(got)
            return
        self._replies[got] = (kind, packet[4:])
        self._waiting += len(packet) - 4
        if self._waiting > _MAX_WAITING:
            raise WireError(f"more than {_MAX_WAITING >> 20} MiB of replies ahead of the one that is due")

    def _receive(self) -> tuple[int, bytes]:
        self._fill(4)
        length = struct.unpack_from(">I", self._buffer)[0]
        if not 5 <= length <= _LONGEST_PACKET:
            raise WireError(f"a packet of {length} bytes")
        self._fill(4 + length)
        kind, packet = self._buffer[4], bytes(memoryview(self._buffer)[5 : 4 + length])
        del self._buffer[: 4 + length]
        return kind, packet

    def _fill(self, needed: int) -> None:
        while len(self._buffer) < needed:
            got = self._channel.recv(_RECEIVE)
            if not got:
                raise EOFError("the server ended the session")
            self._buffer += got
            self._deadline.check()

    def _greet(self) -> dict[bytes, bytes]:
        self._outgoing += struct.pack(">IBI", 5, Kind.INIT, _VERSION)
        self.flush()
        kind, packet = self._receive()
        expect(kind, Kind.VERSION)
        extensions: dict[bytes, bytes] = {}
        at = 4
        while at < len(packet):
            name, at = take_string(packet, at)
            extensions[name], at = take_string(packet, at)
        return extensions

    def _limits(self) -> tuple[int, int]:
        """How much a read and a write may ask for."""
        if b"limits@openssh.com" not in self.extensions:
            return _DEFAULT_LENGTH, _DEFAULT_LENGTH
        kind, body = self._reply(self.extended(b"limits@openssh.com"))
        expect(kind, Kind.EXTENDED_REPLY)
        if len(body) < 32:
            raise WireError("limits shorter than they are")
        _packet, read, write, _handles = struct.unpack_from(">QQQQ", body)
        return min(read or _DEFAULT_LENGTH, _LONGEST_LENGTH), min(write or _DEFAULT_LENGTH, _LONGEST_LENGTH)
