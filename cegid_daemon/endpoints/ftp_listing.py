"""What an FTP server's listings say: entries, and lines nobody understands; here MLSD, which has a standard.

Pure: lines in, entries out; names are bytes. What LIST prints is read by `ftp_list_formats`.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cegid_daemon.endpoints.bounds import MAX_LINE_BYTES
from cegid_daemon.model import Identity


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder."""

    name: bytes
    identity: Identity
    regular: bool
    stamp: bytes = b""  # the time as LIST prints it; blank where the identity has the real one
    other_names: tuple[bytes, ...] = ()  # names it may have instead, where the line leaves that open


@dataclass(frozen=True, slots=True)
class Parsed:
    """A listing as it was understood."""

    entries: list[Entry] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)  # lines that may be files
    has_sizes: bool = True  # whether the size of each file is told


_SIZE = re.compile(rb"[0-9]{1,18}")
MAX_SIZE = 1 << 60  # bytes; no file has as many
_MAX_NS = 1 << 62  # nanoseconds before and after 1970 that the journal can keep
_TIME = re.compile(rb"(\d{14})(?:\.(\d{1,9}))?")


def lines(body: bytes) -> list[bytes]:
    """The lines of a listing; where they end in CRLF, a lone LF belongs to a name."""
    end = b"\r\n" if b"\r\n" in body else b"\n"
    return [line for line in body.split(end) if line]


def is_size(text: bytes) -> bool:
    """Whether it is a number of bytes that a file can have."""
    return _SIZE.fullmatch(text) is not None


def parse_mlsd(body: bytes) -> Parsed:
    """The entries of an MLSD listing, without the folder itself and the one above."""
    found = Parsed()
    has_sizes = True
    for line in lines(body):
        facts, name = _facts(line)
        if not facts or len(line) > MAX_LINE_BYTES or not _is_possible(facts):
            found.unread.append(line)
        elif facts.get(b"type", b"file").lower() not in {b"cdir", b"pdir"}:
            entry = _entry(facts, name)
            found.entries.append(entry)
            has_sizes = has_sizes and (not entry.regular or is_size(facts.get(b"size", b"")))
    return Parsed(found.entries, found.unread, has_sizes)


def mlst(line: bytes) -> Entry | None:
    """The entry of one line of facts; None for the folder itself, the one above, and what is no such line."""
    facts, name = _facts(line)
    if not facts or facts.get(b"type", b"file").lower() in {b"cdir", b"pdir"}:
        return None
    return _entry(facts, name)


def _facts(line: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """The facts of a line, and the name behind them; no facts if it is no such line."""
    text, space, name = line.partition(b" ")
    if not space or b"=" not in text:
        return {}, line
    pairs = (fact.partition(b"=") for fact in text.split(b";"))
    return {key.lower(): value for key, _equals, value in pairs}, name


def _is_possible(facts: dict[bytes, bytes]) -> bool:
    """Whether the size of a file, if it is told as a number, is one that a file can have."""
    size = facts.get(b"size", b"")
    return not _is_file(facts) or is_size(size) or not size.isdigit()


def _entry(facts: dict[bytes, bytes], name: bytes) -> Entry:
    size = facts.get(b"size", b"0")
    unique = facts.get(b"unique", b"")
    identity = Identity(
        size=int(size) if is_size(size) else MAX_SIZE if size.isdigit() else 0,
        mtime_ns=time_ns(facts.get(b"modify", b"")),
        inode=zlib.crc32(unique) if unique else 0,
    )
    return Entry(name, identity, regular=_is_file(facts))


def _is_file(facts: dict[bytes, bytes]) -> bool:
    return facts.get(b"type", b"file").lower() == b"file"


def time_ns(text: bytes) -> int:
    """`20261123074200.123`, UTC, as nanoseconds since 1970; 0 if it is no time."""
    found = _TIME.fullmatch(text)
    if found is None:
        return 0
    try:
        moment = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    nanoseconds = int(moment.timestamp()) * 10**9 + int((found[2] or b"").ljust(9, b"0"))
    return nanoseconds if abs(nanoseconds) < _MAX_NS else 0
