"""Many small files through one SFTP session, read or written: the requests of all of them under way together.

A hundred files cost four round trips instead of four hundred. Owns the grouping and the order of requests; a file that
turns out to be anything but small and at rest is left to the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from cegid_daemon.endpoints.sftp_packets import FSYNC, READ, WRITE_NEW, Attributes, Status
from cegid_daemon.endpoints.sftp_wire import Wire

T = TypeVar("T")

_UNKNOWN = Attributes()
_TOGETHER = 64  # files opened at once: servers bound their handles


@dataclass(frozen=True, slots=True)
class Got:
    """A small file as it was read; `status` where the server refused, `changed` where it was not at rest."""

    attributes: Attributes = _UNKNOWN
    body: bytes = b""
    status: Status | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """The requests under way for one open file."""

    before: int
    read: int
    length: int
    after: int
    closed: int


def read_small(wire: Wire, paths: Sequence[bytes], length: int) -> Iterator[Got]:
    """Reads files of less than `length` bytes, in order. Raises only faults of the line."""
    groups = [paths[at : at + _TOGETHER] for at in range(0, len(paths), _TOGETHER)]
    opened = [wire.open(path, READ) for path in groups[0]] if groups else []
    for no in range(len(groups)):
        asked = [_ask(wire, number, length) for number in opened]
        opened = [wire.open(path, READ) for path in groups[no + 1]] if no + 1 < len(groups) else []
        for one in asked:
            yield one if isinstance(one, Got) else _answer(wire, one)


def write_small(wire: Wire, files: Sequence[tuple[bytes, bytes]], sent: list[bytes]) -> Iterator[Attributes | Status]:
    """Writes new files of few bytes, path and body each, in order; what the server has of each when it is synced.

    Raises only faults of the line; `sent` then has the paths of those of which every request was sent. A path where
    something lies already is refused by the server.
    """
    for at in range(0, len(files), _TOGETHER):
        group = files[at : at + _TOGETHER]
        opened = [wire.open(path, WRITE_NEW) for path, _ in group]
        asked = []
        for number, (path, body) in zip(opened, group, strict=True):
            asked.append(_write(wire, number, body))
            sent.append(path)
        for one in asked:
            yield one if isinstance(one, Status) else _written(wire, one)


def look_at(wire: Wire, folder: bytes, paths: Sequence[bytes]) -> list[Attributes | Status]:
    """Looks at entries of one folder. Raises Status if the folder is not there: then a missing file says nothing."""
    asked = [wire.stat(folder), *(wire.lstat(path) for path in paths), wire.stat(folder)]
    before, *found, after = [_outcome(wire.attributes, number) for number in asked]
    for above in (before, after):
        if isinstance(above, Status):
            raise above
    return found


@dataclass(frozen=True, slots=True)
class _Writing:
    """The requests under way for one new file."""

    done: Sequence[int]
    attributes: int
    closed: int


def _write(wire: Wire, opened: int, body: bytes) -> _Writing | Status:
    handle = _outcome(wire.handle, opened)
    if isinstance(handle, Status):
        return handle
    step = wire.write_length
    done = [wire.write(handle, at, body[at : at + step]) for at in range(0, len(body), step)]
    if FSYNC in wire.extensions:
        done.append(wire.extended(FSYNC, handle))
    return _Writing(done, wire.fstat(handle), wire.close(handle))


def _written(wire: Wire, asked: _Writing) -> Attributes | Status:
    outcomes = [_outcome(wire.done, number) for number in asked.done]
    attributes = _outcome(wire.attributes, asked.attributes)
    outcomes.append(_outcome(wire.done, asked.closed))
    return next((one for one in outcomes if isinstance(one, Status)), attributes)


def _ask(wire: Wire, opened: int, length: int) -> _Asked | Got:
    handle = _outcome(wire.handle, opened)
    if isinstance(handle, Status):
        return Got(status=handle)
    return _Asked(wire.fstat(handle), wire.read(handle, 0, length), length, wire.fstat(handle), wire.close(handle))


def _answer(wire: Wire, asked: _Asked) -> Got:
    before = _outcome(wire.attributes, asked.before)
    body = _outcome(partial(wire.body, length=asked.length), asked.read)
    after = _outcome(wire.attributes, asked.after)
    _outcome(wire.done, asked.closed)  # it was only read
    if isinstance(before, Attributes) and isinstance(body, bytes) and isinstance(after, Attributes):
        return Got(before, body, changed=before != after or len(body) != before.size)
    return Got(status=next(one for one in (before, body, after) if isinstance(one, Status)))


def _outcome(take: Callable[[int], T], number: int) -> T | Status:
    """A reply, or the failure it was."""
    try:
        return take(number)
    except Status as status:
        return status
