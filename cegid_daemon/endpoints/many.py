"""Many small files in few round trips, where an endpoint can; one after the other where it cannot.

Owns what "many" means for callers: each file succeeds or fails for itself, in the order given, and memory is the
caller's to bound by how many files it asks for at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import EndpointError, Place, SourceChanged
from cegid_daemon.model import Identity, Listed

SMALL = 32768  # bytes; what any SFTP server gives in one answer


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file read whole, or why it could not be: then `identity` is None and `body` is blank."""

    name: str
    identity: Identity | None = None
    body: bytes = b""
    fault: EndpointError | SourceChanged | None = None


@dataclass(frozen=True, slots=True)
class Small:
    """A small file to write: less than `SMALL` bytes."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Move:
    """A file to rename."""

    name: str
    to_name: str


Looked = Listed | EndpointError | None  # the entry, None where there is none, or why nobody could look


@runtime_checkable
class Many(Protocol):
    """An endpoint that does many files at once."""

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """As `read` for each of these listed files."""

    def put_many(self, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
        """As `put` for each; None where it succeeded."""

    def rename_many(
        self, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> Sequence[EndpointError | None]:
        """As `rename` for each; None where it succeeded."""

    def stat_many(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        """As `stat` for each."""

    def remove_many(self, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
        """As `remove` for each; None where it succeeded."""


def read_many(endpoint: Endpoint, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
    """Reads listed files whole. Raises nothing for a single file; an unreachable endpoint is every file's fault."""
    if isinstance(endpoint, Many):
        return endpoint.read_many(folder, files)
    return (read_listed(endpoint, folder, file) for file in files)


def put_many(endpoint: Endpoint, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
    """Writes files whole; for each its error, None where it succeeded."""
    if isinstance(endpoint, Many):
        return endpoint.put_many(folder, files)
    return [put_one(endpoint, folder, file) for file in files]


def rename_many(
    endpoint: Endpoint, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
) -> Sequence[EndpointError | None]:
    """Renames files from one folder into another; for each its error, None where it succeeded."""
    if isinstance(endpoint, Many):
        return endpoint.rename_many(folder, to_folder, moves, replace=replace)
    return [rename_one(endpoint, folder, to_folder, move, replace=replace) for move in moves]


def stat_many(endpoint: Endpoint, folder: str, names: Sequence[str]) -> Sequence[Looked]:
    """What lies under these names of a folder now. Raises nothing; a folder that is gone is every name's Absent."""
    if isinstance(endpoint, Many):
        return endpoint.stat_many(folder, names)
    return [stat_one(endpoint, folder, name) for name in names]


def remove_many(endpoint: Endpoint, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
    """Removes files; for each its error, None where it succeeded."""
    if isinstance(endpoint, Many):
        return endpoint.remove_many(folder, names)
    return [remove_one(endpoint, folder, name) for name in names]


def read_listed(endpoint: Endpoint, folder: str, file: Listed) -> Fetched:
    """A single file, its error as a value: one that has become larger than small is not read into memory."""
    try:
        with endpoint.read(folder, file.name) as reading:
            if reading.identity.size > max(SMALL, file.identity.size):
                raise _grown(folder, file)
            return Fetched(file.name, reading.identity, b"".join(reading))
    except (EndpointError, SourceChanged) as fault:
        return Fetched(file.name, fault=fault)


def _grown(folder: str, file: Listed) -> SourceChanged:
    return SourceChanged(
        "the file is larger than it was listed", where=Place(file=f"{folder}/{file.name}".lstrip("/")),
        remedy="It is read again when it has come to rest.",
    )  # fmt: skip


def put_one(endpoint: Endpoint, folder: str, file: Small) -> EndpointError | None:
    """A single file written, its error as a value."""
    try:
        endpoint.put(folder, file.name, [file.body])
    except EndpointError as error:
        return error
    return None


def rename_one(endpoint: Endpoint, folder: str, to_folder: str, move: Move, *, replace: bool) -> EndpointError | None:
    """A single rename, its error as a value."""
    try:
        endpoint.rename(folder, move.name, to_folder, move.to_name, replace=replace)
    except EndpointError as error:
        return error
    return None


def stat_one(endpoint: Endpoint, folder: str, name: str) -> Looked:
    """A single look, its error as a value."""
    try:
        return endpoint.stat(folder, name)
    except EndpointError as error:
        return error


def remove_one(endpoint: Endpoint, folder: str, name: str) -> EndpointError | None:
    """A single removal, its error as a value."""
    try:
        endpoint.remove(folder, name)
    except EndpointError as error:
        return error
    return None
