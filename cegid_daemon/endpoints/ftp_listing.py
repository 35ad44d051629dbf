"""What an FTP server's listings say: MLSD, which has a standard, and LIST, which has habits.

Pure: a line in, an entry out; names are bytes. A LIST line gives kind, size and name; its time is to the minute, in the
server's own zone, and is kept as text that can only be compared.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cegid_daemon.model import Identity


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder. `stamp` is the time as LIST prints it; blank where the identity has the real one."""

    name: bytes
    identity: Identity
    regular: bool
    stamp: bytes = b""


_UNIX = re.compile(
    rb"([-dlpscbD])[-rwxsStTlL]{9}\S?\s+\d+\s+\S+\s+\S+\s+(\d+)\s"  # kind, rights, links, owner, group, size
    rb"\s*(\w{3}\s+\d{1,2}\s+[\d:]{4,5}|\d{4}-\d\d-\d\d\s+[\d:]+)\s(.+)",
    re.DOTALL,
)
_DOS = re.compile(rb"(\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:[AP]M)?)\s+(?:(<DIR>)|(\d+))\s+(.+)", re.DOTALL)
_TIME = re.compile(rb"(\d{14})(?:\.(\d{1,9}))?")


def lines(body: bytes) -> list[bytes]:
    """The lines of a listing; where they end in CRLF, a lone LF belongs to a name."""
    end = b"\r\n" if b"\r\n" in body else b"\n"
    return [line for line in body.split(end) if line]


def mlsd(body: bytes) -> Iterator[Entry]:
    """The entries of an MLSD listing, without the folder itself and the one above."""
    for line in lines(body):
        entry = mlst(line)
        if entry is not None:
            yield entry


def mlst(line: bytes) -> Entry | None:
    """The entry of one line of facts; None for the folder itself, the one above, and what is no such line."""
    facts_text, space, name = line.partition(b" ")
    if not space or b"=" not in facts_text:
        return None
    pairs = (fact.partition(b"=") for fact in facts_text.split(b";"))
    facts = {key.lower(): value for key, _equals, value in pairs}
    kind = facts.get(b"type", b"file").lower()
    if kind in {b"cdir", b"pdir"}:
        return None
    size = facts.get(b"size", b"0")
    unique = facts.get(b"unique", b"")
    identity = Identity(
        size=int(size) if size.isdigit() else 0,
        mtime_ns=time_ns(facts.get(b"modify", b"")),
        inode=zlib.crc32(unique) if unique else 0,
    )
    return Entry(name, identity, regular=kind == b"file")


def unix_or_dos(body: bytes) -> Iterator[Entry]:
    """The entries of a LIST listing; lines of no known habit (such as `total 12`) are left out."""
    for line in lines(body):
        entry = _unix(line) or _dos(line)
        if entry is not None and entry.name not in {b".", b".."}:
            yield entry


def time_ns(text: bytes) -> int:
    """`20261123074200.123`, UTC, as nanoseconds since 1970; 0 if it is no time."""
    found = _TIME.fullmatch(text)
    if found is None:
        return 0
    try:
        moment = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 10**9 + int((found[2] or b"").ljust(9, b"0"))


def _unix(line: bytes) -> Entry | None:
    found = _UNIX.fullmatch(line)
    if found is None:
        return None
    kind, size, stamp, name = found.groups()
    if kind == b"l":
        name = name.partition(b" -> ")[0]
    return Entry(name, Identity(int(size)), kind == b"-", stamp)


def _dos(line: bytes) -> Entry | None:
    found = _DOS.fullmatch(line)
    if found is None:
        return None
    stamp, folder, size, name = found.groups()
    return Entry(name, Identity(int(size or 0)), folder is None, stamp)
