"""What an SFTP endpoint does with many files at once: their requests are under way together on one session.

Owns which files may share their round trips, and what becomes of each when the line breaks among them. A file that
turns out to be anything but small and at rest, or whose answer leaves something open, goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, zip_longest
from typing import TypeVar, cast

from cegid_daemon.endpoints.many import (
    SMALL,
    Fetched,
    Looked,
    Move,
    Small,
    put_one,
    read_listed,
    remove_one,
    rename_one,
    stat_one,
)
from cegid_daemon.endpoints.paths import checked_name
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.endpoints.sftp_many import Got, look_at, read_small, write_small
from cegid_daemon.endpoints.sftp_packets import Attributes, Code, Status
from cegid_daemon.endpoints.sftp_session import SftpSession, SftpSessions, status_error
from cegid_daemon.errors import EndpointError, Unsure
from cegid_daemon.model import Listed

T = TypeVar("T")
R = TypeVar("R")

_TOGETHER = 64  # files renamed, looked at or removed at once


class SftpBatches:
    """The half of an SFTP endpoint that takes many files (`many.Many`)."""

    def __init__(self, sessions: SftpSessions) -> None:
        self._sessions = sessions

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """Reads listed files whole; neighbours that are small share their round trips."""
        for small, run in groupby(files, lambda file: file.regular and file.identity.size < SMALL):
            if small:
                yield from self._read_small(folder, list(run))
            else:
                yield from (read_listed(self._single, folder, file) for file in run)

    def put_many(self, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
        """Writes small files with all requests under way at once; each is synced, its size read back."""
        return _by_groups(lambda some: self._write_small(folder, some), files)

    def rename_many(
        self, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> Sequence[EndpointError | None]:
        """Renames with all requests under way at once, where one request is all that a rename takes."""
        return _by_groups(lambda some: self._rename_together(folder, to_folder, some, replace=replace), moves)

    def stat_many(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        """Looks with all requests under way at once."""
        return _by_groups(lambda some: self._look_together(folder, some), names)

    def remove_many(self, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
        """Removes with all requests under way at once."""
        return _by_groups(lambda some: self._remove_together(folder, some), names)

    @property
    def _single(self) -> Endpoint:
        """The whole endpoint, for what goes the ordinary way."""
        return cast(Endpoint, self)

    def _paths(self, folder: str, names: Sequence[str]) -> Sequence[bytes] | None:
        """The paths on the server; None if one of the names cannot be said: then each has to answer for itself."""
        try:
            return [self._sessions.path(folder, checked_name(name)) for name in names]
        except EndpointError:
            return None

    def _read_small(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """What turns out to be neither small nor at rest go the ordinary way."""
        found: list[Got] = []
        fault: EndpointError | None = None
        paths = [self._sessions.path(folder, file.name) for file in files]
        try:
            with self._transferring("cannot read the files", folder) as session:
                found.extend(read_small(session.wire, paths, SMALL))
        except EndpointError as error:
            fault = error
        for file, small in zip_longest(files, found):
            if small is None:
                yield Fetched(file.name, fault=fault)
            elif small.status is not None or small.changed:
                yield read_listed(self._single, folder, file)
            else:
                yield Fetched(file.name, small.attributes.identity, small.body)

    def _write_small(self, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
        """What was refused, or has another size than it should, is written again by itself."""
        written: list[Attributes | Status] = []
        sent: list[bytes] = []
        fault: EndpointError | None = None
        if (paths := self._paths(folder, [file.name for file in files])) is None:
            return [put_one(self._single, folder, file) for file in files]
        try:
            with self._transferring("cannot write the files", folder) as session:
                bodies = [(path, file.body) for path, file in zip(paths, files, strict=True)]
                written.extend(write_small(session.wire, bodies, sent))
        except EndpointError as error:
            fault = error
        closing = set(sent)
        return [
            self._written(folder, file, found) if found is not None else _lost(fault) if path in closing else fault
            for file, path, found in zip_longest(files, paths, written)
        ]

    def _written(self, folder: str, file: Small, found: Attributes | Status) -> EndpointError | None:
        return None if _is_whole(found, file) else put_one(self._single, folder, file)

    @contextmanager
    def _transferring(self, what: str, folder: str) -> Iterator[SftpSession]:
        with self._sessions.lend() as session, session.telling(what, self._sessions.text(folder)):
            session.in_transfer = True
            yield session
            session.in_transfer = False

    def _rename_together(
        self, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> Sequence[EndpointError | None]:
        paths = self._paths(folder, [move.name for move in moves])
        to_paths = self._paths(to_folder, [move.to_name for move in moves])
        try:
            with self._sessions.lend() as session:
                by = session.renames_by(replace=replace)
                if by is None and to_paths and self._are_free(session, to_folder, to_paths):
                    by = session.wire.rename
                if by is not None and paths is not None and to_paths is not None:
                    with session.once("cannot rename the files", self._sessions.text(folder)):
                        asked = [by(path, to) for path, to in zip(paths, to_paths, strict=True)]
                        session.wire.flush()
                    ways = zip(moves, asked, paths, to_paths, strict=True)
                    return [self._renamed(session, folder, to_folder, *way) for way in ways]
        except EndpointError as error:  # no connection, or it broke while they were sent
            return [error] * len(moves)
        return [rename_one(self._single, folder, to_folder, move, replace=replace) for move in moves]

    def _are_free(self, session: SftpSession, folder: str, paths: Sequence[bytes]) -> bool:
        """Whether nothing has these names yet: asked where a server may replace without being asked to."""
        with session.telling("cannot look at the files", self._sessions.text(folder)):
            looks = look_at(session.wire, self._sessions.path(folder), paths)
        return all(isinstance(look, Status) and look.code == Code.NO_SUCH_FILE for look in looks)

    def _renamed(
        self, session: SftpSession, folder: str, to_folder: str, move: Move, number: int, path: bytes, to: bytes
    ) -> EndpointError | None:
        text, to_text = self._sessions.text(folder, move.name), self._sessions.text(to_folder, move.to_name)
        what = f"cannot rename the file to {to_text}"
        try:
            with session.explaining(what, path, text, to):
                session.ask_once(number, what, text)
        except EndpointError as error:
            return error
        return None

    def _look_together(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        what, text = "cannot look at the files", self._sessions.text(folder)
        if (paths := self._paths(folder, names)) is None:
            return [stat_one(self._single, folder, name) for name in names]
        try:
            with self._sessions.lend() as session, session.telling(what, text):
                found = look_at(session.wire, self._sessions.path(folder), paths)
        except EndpointError as error:
            return [error] * len(names)
        return [self._looked(folder, name, one) for name, one in zip(names, found, strict=True)]

    def _looked(self, folder: str, name: str, found: Attributes | Status) -> Looked:
        if isinstance(found, Attributes):
            return Listed(name, found.identity, found.regular)
        if found.code == Code.NO_SUCH_FILE:
            return None
        return status_error(found, "cannot look at the file", self._sessions.text(folder, name))

    def _remove_together(self, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
        what, text = "cannot remove the files", self._sessions.text(folder)
        if (paths := self._paths(folder, names)) is None:
            return [remove_one(self._single, folder, name) for name in names]
        try:
            with self._sessions.lend() as session:
                with session.telling(what, text):
                    asked = [session.wire.remove(path) for path in paths]
                ways = zip(names, asked, paths, strict=True)
                return [self._removed(session, folder, *way) for way in ways]
        except EndpointError as error:  # no connection
            return [error] * len(names)

    def _removed(self, session: SftpSession, folder: str, name: str, number: int, path: bytes) -> EndpointError | None:
        try:
            with session.explaining("cannot remove the file", path, self._sessions.text(folder, name)):
                session.wire.done(number)
        except EndpointError as error:
            return error
        return None


def _lost(fault: EndpointError | None) -> EndpointError | None:
    """What a broken line means for a file whose every request was sent: it may lie there whole."""
    return fault and Unsure(f"{fault.what}: the answer was lost", where=fault.where, why=fault.why)


def _is_whole(found: Attributes | Status, file: Small) -> bool:
    return isinstance(found, Attributes) and found.size == len(file.body)


def _by_groups(take: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> list[R]:
    return [one for at in range(0, len(items), _TOGETHER) for one in take(items[at : at + _TOGETHER])]
