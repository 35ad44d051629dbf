"""The vocabulary of SFTP version 3: packet types, status codes, and how attributes and names stand in a packet.

Pure: bytes to values and back. Names are bytes here.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cegid_daemon.endpoints.bounds import MAX_ENTRIES
from cegid_daemon.model import Identity


class Kind(IntEnum):
    """Packet types."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Code(IntEnum):
    """Status codes a version 3 server may answer."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    NO_CONNECTION = 6
    CONNECTION_LOST = 7
    OP_UNSUPPORTED = 8
    FILE_ALREADY_EXISTS = 11  # of later versions, sent by some all the same


POSIX_RENAME = b"posix-rename@openssh.com"
FSYNC = b"fsync@openssh.com"
READ = 0x01
WRITE_NEW = 0x02 | 0x08 | 0x20  # write, create, fail if it is there


_MAX_SIZE = 1 << 60  # bytes; no file has more


class Status(Exception):
    """The server answered a request with something other than success."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class WireError(Exception):
    """The server sent what cannot be understood; the channel is of no further use."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a server says of a file; 0 where it says nothing."""

    size: int = 0
    mtime: int = 0
    mode: int = 0

    @property
    def identity(self) -> Identity:
        """Size and whole seconds; version 3 has no more."""
        return Identity(min(self.size, _MAX_SIZE), self.mtime * 1_000_000_000)

    @property
    def regular(self) -> bool:
        """Whether it is a regular file; one whose kind the server does not tell counts as regular."""
        if self.size >= _MAX_SIZE:
            return False
        return stat.S_ISREG(self.mode) or stat.S_IFMT(self.mode) == 0

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


def expect(kind: int, *allowed: Kind) -> None:
    """WireError unless a packet is of one of the types that are due."""
    if kind not in allowed:
        raise WireError(f"a packet of type {kind} where {', '.join(one.name for one in allowed)} was due")


def packed(body: bytes) -> bytes:
    """A string as packets carry it, its length ahead."""
    return struct.pack(">I", len(body)) + body


def take_string(packet: bytes, at: int) -> tuple[bytes, int]:
    """The string at `at`, and where the next value stands."""
    end = at + 4 + struct.unpack_from(">I", packet, at)[0]
    if end > len(packet):
        raise WireError("a packet shorter than it says")
    return packet[at + 4 : end], end


def take_attributes(packet: bytes, at: int) -> tuple[Attributes, int]:
    """The attributes at `at`, and where the next value stands."""
    flags = struct.unpack_from(">I", packet, at)[0]
    at += 4
    size = mode = mtime = 0
    if flags & 0x01:
        size = struct.unpack_from(">Q", packet, at)[0]
        at += 8
    if flags & 0x02:
        at += 8
    if flags & 0x04:
        mode = struct.unpack_from(">I", packet, at)[0]
        at += 4
    if flags & 0x08:
        mtime = struct.unpack_from(">I", packet, at + 4)[0]
        at += 8
    if flags & 0x80000000:
        at = _skip_extended(packet, at)
    return Attributes(size, mtime, mode), at


def _skip_extended(packet: bytes, at: int) -> int:
    count = struct.unpack_from(">I", packet, at)[0]
    at += 4
    for _ in range(2 * count):
        _text, at = take_string(packet, at)
    return at


def take_names(packet: bytes) -> Iterator[tuple[bytes, Attributes]]:
    """The entries of a NAME packet."""
    count = struct.unpack_from(">I", packet)[0]
    if count > MAX_ENTRIES:
        raise WireError(f"{count} entries in one reply")
    at = 4
    for _ in range(count):
        name, at = take_string(packet, at)
        _long_name, at = take_string(packet, at)
        attributes, at = take_attributes(packet, at)
        yield name, attributes
