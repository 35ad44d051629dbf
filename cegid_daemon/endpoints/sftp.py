"""An SFTP server as an endpoint (`sftp://user@host:22/exchange`; the path is absolute, `/~/` is the home).

Works through several sessions on one SSH connection. What the protocol cannot promise: times are whole seconds, folders
cannot be synced, and where a server offers no `posix-rename` a taken name is never replaced. May be used from several
threads at once; `close` from any of them ends what the others wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby, zip_longest

from cegid_daemon.endpoints.many import SMALL, Fetched, Looked, Move, read_one, rename_one
from cegid_daemon.endpoints.paths import checked_name, folder_parts, is_plain
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.sftp_many import Small, look_at, read_small
from cegid_daemon.endpoints.sftp_packets import Attributes, Code, Status
from cegid_daemon.endpoints.sftp_session import POSIX_RENAME, SftpSession, SftpSessions, status_error
from cegid_daemon.endpoints.sftp_transfer import Download, Upload
from cegid_daemon.errors import (
    Absent,
    ConfigurationError,
    EndpointError,
    Exists,
    Permanent,
    Place,
    SourceChanged,
    Transient,
)
from cegid_daemon.model import EndpointSpec, Identity, Listed

_AHEAD = 8  # folder reads under way at once
_TOGETHER = 64  # files renamed, looked at or removed at once


class SftpEndpoint:
    """Files on an SFTP server."""

    def __init__(self, server: Server) -> None:
        """Nothing is connected yet."""
        self._server = server
        self._sessions = SftpSessions(server)

    @classmethod
    def of(cls, spec: EndpointSpec) -> SftpEndpoint:
        """From the configuration. ConfigurationError if the url or an option is wrong."""
        server = Server.of(spec)
        if not server.user:
            raise ConfigurationError(
                "an sftp: url needs a user",
                where=Place(field=f"endpoint.{spec.name}.url"),
                why=spec.url,
                remedy="Write sftp://user@host/path.",
            )
        return cls(server)

    @property
    def abilities(self) -> Abilities:
        """Replacing is believed possible until a server says otherwise."""
        return Abilities(remote=True, replaces=self._sessions.can_replace)

    @property
    def where(self) -> str:
        """`sftp://user@host:port/path`."""
        return self._server.where

    def facts(self) -> Mapping[str, str]:
        """What the server said of itself."""
        with self._sessions.lend() as session, session.telling("cannot ask what the server can do", self.where):
            extensions = session.wire.extensions
            link = self._sessions.link()
            return {
                "software": link.software,
                "host key": f"{link.host_key.kind} {link.host_key.fingerprint}",
                "posix-rename": "yes" if POSIX_RENAME in extensions else "no",
                "fsync": "yes" if b"fsync@openssh.com" in extensions else "no",
            }

    def list(self, folder: str) -> list[Listed]:
        """The entries of `folder`; names that are no single path part are left out."""
        path, text = self._sessions.path(folder), self._sessions.text(folder)
        with self._sessions.lend() as session, session.telling("cannot list the folder", text):
            named = ((self._sessions.decoded(name), found) for name, found in _entries(session, path))
            return [Listed(name, found.identity, found.regular) for name, found in named if is_plain(name)]

    def stat(self, folder: str, name: str) -> Listed | None:
        """The entry as it is now."""
        checked_name(name)
        path, text = self._sessions.path(folder, name), self._sessions.text(folder, name)
        with self._sessions.lend() as session, session.telling("cannot look at the file", text):
            above = session.wire.stat(self._sessions.path(folder))
            found = session.look(path)
            session.wire.attributes(above)
        return Listed(name, found.identity, found.regular) if found else None

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[SftpReading]:
        """Opens a regular file; looks before it opens, for a pipe would hold the server's session for ever."""
        checked_name(name)
        path, text = self._sessions.path(folder, name), self._sessions.text(folder, name)
        with self._sessions.lend() as session:
            with session.telling("cannot read the file", text):
                found = session.wire.attributes(session.wire.lstat(path))
                if not found.regular:
                    raise _not_regular(text)
                session.in_transfer = True
                download = Download(session.wire, path, found.size, start)
            yield SftpReading(session, download, text, start)
            with session.telling("cannot close the file", text):
                download.close()
            session.in_transfer = False

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """Writes the file, has it synced where the server can, and reads its size back before it is closed."""
        checked_name(name)
        path, text = self._sessions.path(folder, name), self._sessions.text(folder, name)
        what = "cannot write the file"
        with self._sessions.lend() as session:
            with self._explaining(session, what, folder, name):
                session.in_transfer = True
                upload = Upload(session.wire, path)
            for chunk in chunks:  # an error of the caller's passes as it is; the session is then given up
                with session.telling(what, text):
                    upload.send(chunk)
            with session.telling(what, text):
                written = upload.finish()
            session.in_transfer = False
        if written.size != upload.sent:
            raise Transient(
                f"sent {upload.sent} bytes, but the server has {written.size}",
                where=Place(file=text),
                remedy="The server's disk may be full. It is tried again by itself.",
            )
        return written.identity

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """Renames by `posix-rename` where a name may be replaced, by the plain rename, which never does, where not."""
        checked_name(name)
        checked_name(to_name)
        path, to = self._sessions.path(folder, name), self._sessions.path(to_folder, to_name)
        what = f"cannot rename the file to {self._sessions.text(to_folder, to_name)}"
        with self._sessions.lend() as session, self._explaining(session, what, folder, name, to=to):
            by = self._renames_by(session, replace=replace)
            if by is None and session.look(to) is not None:
                raise Exists("the name is taken", where=Place(file=self._sessions.text(to_folder, to_name)))
            session.ask_once((by or session.wire.rename)(path, to), what, self._sessions.text(folder, name))

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """Reads listed files whole; neighbours that are small share their round trips."""
        for small, run in groupby(files, lambda file: file.regular and file.identity.size < SMALL):
            if small:
                yield from self._read_small(folder, [file.name for file in run])
            else:
                yield from (read_one(self, folder, file.name) for file in run)

    def rename_many(
        self, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> Sequence[EndpointError | None]:
        """Renames with all requests under way at once, where one request is all that a rename takes."""
        outcomes: dict[Move, EndpointError | None] = {}
        for at in range(0, len(moves), _TOGETHER):
            with self._sessions.lend() as session:
                if self._renames_by(session, replace=replace) is not None:
                    outcomes |= self._rename_together(session, folder, to_folder, moves[at : at + _TOGETHER], replace)
        return [
            outcomes[move] if move in outcomes else rename_one(self, folder, to_folder, move, replace=replace)
            for move in moves
        ]

    def stat_many(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        """Looks with all requests under way at once."""
        looked: list[Looked] = []
        for at in range(0, len(names), _TOGETHER):
            looked += self._look_together(folder, names[at : at + _TOGETHER])
        return looked

    def remove_many(self, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
        """Removes with all requests under way at once."""
        outcomes: list[EndpointError | None] = []
        for at in range(0, len(names), _TOGETHER):
            outcomes += self._remove_together(folder, names[at : at + _TOGETHER])
        return outcomes

    def remove(self, folder: str, name: str) -> None:
        """Removes a file."""
        checked_name(name)
        path = self._sessions.path(folder, name)
        with self._sessions.lend() as session, self._explaining(session, "cannot remove the file", folder, name):
            session.wire.done(session.wire.remove(path))

    def make_folder(self, folder: str) -> None:
        """Makes what is missing below the url's own folder."""
        parts = folder_parts(folder)
        with self._sessions.lend() as session, session.telling("cannot make the folder", self._sessions.text(folder)):
            if self._is_folder(session, folder):
                return
            for depth in range(len(parts)):
                self._make(session, "/".join(parts[: depth + 1]))

    def sync(self, folder: str) -> None:
        """SFTP cannot sync a folder."""
        folder_parts(folder)

    def close(self) -> None:
        """Ends the connection, and whatever another thread waits for on it."""
        self._sessions.close()

    def _renames_by(self, session: SftpSession, *, replace: bool) -> Callable[[bytes, bytes], int] | None:
        """The one request that does it; None where the new name has to be looked at before."""
        if replace and POSIX_RENAME in session.wire.extensions:
            return partial(session.wire.extended, POSIX_RENAME)
        return session.wire.rename if session.trusted_rename else None

    def _rename_together(
        self, session: SftpSession, folder: str, to_folder: str, moves: Sequence[Move], replace: bool
    ) -> dict[Move, EndpointError | None]:
        by = self._renames_by(session, replace=replace)
        assert by is not None
        paths = self._sessions.path
        asked = [(move, by(paths(folder, move.name), paths(to_folder, move.to_name))) for move in moves]
        outcomes: dict[Move, EndpointError | None] = {}
        for move, number in asked:
            what = f"cannot rename the file to {self._sessions.text(to_folder, move.to_name)}"
            to = paths(to_folder, move.to_name)
            try:
                with self._explaining(session, what, folder, move.name, to=to):
                    session.ask_once(number, what, self._sessions.text(folder, move.name))
                outcomes[move] = None
            except EndpointError as error:
                outcomes[move] = error
        return outcomes

    def _look_together(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        try:
            with (
                self._sessions.lend() as session,
                session.telling("cannot look at the files", self._sessions.text(folder)),
            ):
                paths = [self._sessions.path(folder, checked_name(name)) for name in names]
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
        outcomes: list[EndpointError | None] = []
        try:
            with self._sessions.lend() as session:
                asked = [session.wire.remove(self._sessions.path(folder, checked_name(name))) for name in names]
                for name, number in zip(names, asked, strict=True):
                    try:
                        with self._explaining(session, "cannot remove the file", folder, name):
                            session.wire.done(number)
                        outcomes.append(None)
                    except EndpointError as error:
                        outcomes.append(error)
        except EndpointError as error:  # no connection
            return [error] * len(names)
        return outcomes

    def _read_small(self, folder: str, names: Sequence[str]) -> Iterator[Fetched]:
        """Names whose file turns out to be neither small nor at rest go the ordinary way."""
        found: list[Small] = []
        fault: EndpointError | None = None
        paths = [self._sessions.path(folder, name) for name in names]
        try:
            with (
                self._sessions.lend() as session,
                session.telling("cannot read the files", self._sessions.text(folder)),
            ):
                session.in_transfer = True
                found.extend(read_small(session.wire, paths, SMALL))
                session.in_transfer = False
        except EndpointError as error:
            fault = error
        for name, small in zip_longest(names, found):
            if small is None:
                yield Fetched(name, fault=fault)
            elif small.status is not None or small.changed:
                yield read_one(self, folder, name)
            else:
                yield Fetched(name, small.attributes.identity, small.body)

    def _make(self, session: SftpSession, folder: str) -> None:
        try:
            session.wire.done(session.wire.mkdir(self._sessions.path(folder)))
        except Status as status:
            if not self._is_folder(session, folder):
                kind = Absent if status.code == Code.NO_SUCH_FILE else Permanent
                text = self._sessions.text(folder)
                raise kind("cannot make the folder", where=Place(file=text), why=status.text) from status

    def _is_folder(self, session: SftpSession, folder: str) -> bool:
        try:
            return session.wire.attributes(session.wire.stat(self._sessions.path(folder))).folder
        except Status as status:
            if status.code == Code.NO_SUCH_FILE:
                return False
            raise

    @contextmanager
    def _explaining(
        self, session: SftpSession, what: str, folder: str, name: str, *, to: bytes | None = None
    ) -> Iterator[None]:
        """As `telling`, but where the server's answer leaves open why, looks at what lies there."""
        text = self._sessions.text(folder, name)
        with session.telling(what, text):
            try:
                yield
            except Status as status:
                raise self._explained(session, status, what, folder, name, to) from status

    def _explained(
        self, session: SftpSession, status: Status, what: str, folder: str, name: str, to: bytes | None
    ) -> EndpointError:
        text = self._sessions.text(folder, name)
        if status.code == Code.FAILURE:
            found = session.look(self._sessions.path(folder, name))
            if to is not None and found is not None and session.look(to) is not None:
                return Exists(f"{what}: the name is taken", where=Place(file=text), why=status.text)
            if to is not None and found is None:
                return Absent(what, where=Place(file=text), why=status.text)
            if to is None and found is not None and found.folder:
                return Permanent(what, where=Place(file=text), why="it is a folder", remedy="Move the folder away.")
        return status_error(status, what, text)


class SftpReading:
    """An open file on the server."""

    def __init__(self, session: SftpSession, download: Download, text: str, start: int) -> None:
        self._session = session
        self._download = download
        self._text = text
        self._start = start
        self.identity = download.attributes.identity

    def __iter__(self) -> Iterator[bytes]:
        """The bytes; SourceChanged if the file changed meanwhile."""
        given = self._start
        chunks = self._download.chunks()
        while chunk := self._next(chunks):
            given += len(chunk)
            yield chunk
        with self._session.telling("cannot read the file", self._text):
            now = self._download.attributes_now().identity
        if now != self.identity or now.size != given:
            raise SourceChanged(
                "the file changed while it was read",
                where=Place(file=self._text),
                remedy="It is read again when it has come to rest.",
            )

    def _next(self, chunks: Iterator[bytes]) -> bytes:
        with self._session.telling("cannot read the file", self._text):
            return next(chunks, b"")


def _entries(session: SftpSession, path: bytes) -> Iterator[tuple[bytes, Attributes]]:
    """Reads a folder with several requests under way; their number does not depend on its size."""
    wire = session.wire
    handle = wire.handle(wire.opendir(path))
    asked = [wire.readdir(handle) for _ in range(_AHEAD)]
    while entries := wire.names(asked.pop(0)):
        asked.append(wire.readdir(handle))
        yield from ((name, found) for name, found in entries if name not in {b".", b".."})
    for number in asked:
        wire.forget(number)
    wire.done(wire.close(handle))


def _not_regular(text: str) -> SourceChanged:
    return SourceChanged(
        "this is no regular file, and nothing else is ever opened",
        where=Place(file=text),
        remedy="Put the file itself here instead of a link, pipe, device or folder.",
    )
