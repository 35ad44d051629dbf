"""An SFTP server as an endpoint (`sftp://user@host:22/exchange`; the path is absolute, `/~/` is the home).

Works through several sessions on one SSH connection. What the protocol cannot promise: times are whole seconds, folders
cannot be synced, and where a server offers no `posix-rename` a taken name is never replaced. May be used from several
threads at once; `close` from any of them ends what the others wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from cegid_daemon.endpoints.bounds import Beat, Deadline, ListingSize, shortened
from cegid_daemon.endpoints.listing import Listing
from cegid_daemon.endpoints.net import interrupting
from cegid_daemon.endpoints.paths import checked_name, folder_parts, is_plain
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.sftp_batches import SftpBatches
from cegid_daemon.endpoints.sftp_packets import FSYNC, POSIX_RENAME, Attributes, Code, Status
from cegid_daemon.endpoints.sftp_session import SftpSession, SftpSessions
from cegid_daemon.endpoints.sftp_transfer import Download, Upload
from cegid_daemon.errors import (
    Absent,
    Exists,
    Permanent,
    Place,
    SourceChanged,
    Transient,
)
from cegid_daemon.model import EndpointSpec, Identity, Listed, escape_name

_MAX_NAME = 1024  # characters: no file system has as many
_ENTRY_BYTES = 100  # of an entry beside its name, about: attributes, and the line for people
_MAX_ODD = 100  # names told to people
_AHEAD = 8  # folder reads under way at once


class SftpEndpoint(SftpBatches):
    """Files on an SFTP server."""

    def __init__(self, server: Server) -> None:
        """Nothing is connected yet."""
        super().__init__(SftpSessions(server))
        self._server = server

    @classmethod
    def of(cls, spec: EndpointSpec, beat: Beat | None = None) -> SftpEndpoint:
        """From the configuration. ConfigurationError if the url or an option is wrong."""
        return cls(Server.of(spec, beat))

    @property
    def abilities(self) -> Abilities:
        """Replacing is believed possible until a server says otherwise."""
        can_replace = self._sessions.can_replace
        return Abilities(remote=True, replaces=can_replace, together=can_replace)

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
                "fsync": "yes" if FSYNC in extensions else "no",
            }

    def list(self, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:  # noqa: ARG002
        """The entries of `folder`; names that are no single path part are told as lines not understood."""
        path, text = self._sessions.path(folder), self._sessions.text(folder)
        with self._sessions.lend() as session, session.telling("cannot list the folder", text):
            size = ListingSize(Deadline.of_listing(self._server.seconds, self._server.beat))
            named = [(self._sessions.decoded(name), found) for name, found in _entries(session, path, size)]
        odd = [name for name, _found in named if not is_plain(name) or len(name) > _MAX_NAME]
        listed = [Listed(name, found.identity, found.regular) for name, found in named if is_plain(name)]
        return Listing([one for one in listed if len(one.name) <= _MAX_NAME], [_shown(name) for name in odd[:_MAX_ODD]])

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
        with self._sessions.lend() as session, interrupting(Status):
            with session.explaining(what, path, text):
                session.in_transfer = True
                upload = Upload(session.wire, path)
            for chunk in chunks:  # an error of the caller's passes as it is; the session is then given up
                with session.telling(what, text):
                    upload.send(chunk)
            with session.telling(what, text):
                upload.await_answers()
            with session.telling(what, text), session.once(what, text):
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
        text, to_text = self._sessions.text(folder, name), self._sessions.text(to_folder, to_name)
        what = f"cannot rename the file to {to_text}"
        with self._sessions.lend() as session, session.explaining(what, path, text, to):
            by = session.renames_by(replace=replace)
            if by is None and session.look(to) is not None:
                raise Exists("the name is taken", where=Place(file=to_text))
            session.ask_once((by or session.wire.rename)(path, to), what, text)

    def remove(self, folder: str, name: str) -> None:
        """Removes a file."""
        checked_name(name)
        path, text = self._sessions.path(folder, name), self._sessions.text(folder, name)
        with self._sessions.lend() as session, session.explaining("cannot remove the file", path, text):
            session.wire.done(session.wire.remove(path))

    def make_folder(self, folder: str) -> None:
        """Makes what is missing below the url's own folder."""
        parts = folder_parts(folder)
        with self._sessions.lend() as session, session.telling("cannot make the folder", self._sessions.text(folder)):
            if self._is_folder(session, folder):
                return
            for depth in range(len(parts)):
                self._make(session, "/".join(parts[: depth + 1]))

    def make_new_folder(self, folder: str) -> None:
        """MKDIR alone: it is refused where the name is taken."""
        text = self._sessions.text(folder)
        with self._sessions.lend() as session, session.telling("cannot make the folder", text):
            try:
                session.wire.done(session.wire.mkdir(self._sessions.path(folder)))
            except Status as status:
                if self._is_folder(session, folder):
                    raise Exists("the folder is there already", where=Place(file=text)) from status
                raise

    def remove_folder(self, folder: str) -> None:
        """RMDIR: servers refuse it where the folder is not empty."""
        path, text = self._sessions.path(folder), self._sessions.text(folder)
        with self._sessions.lend() as session, session.explaining("cannot remove the folder", path, text):
            session.wire.done(session.wire.rmdir(path))

    def sync(self, folder: str) -> None:
        """SFTP cannot sync a folder."""
        folder_parts(folder)

    def close(self) -> None:
        """Ends the connection, and whatever another thread waits for on it."""
        self._sessions.close()

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


def _entries(session: SftpSession, path: bytes, size: ListingSize) -> Iterator[tuple[bytes, Attributes]]:
    """Reads a folder with several requests under way; their number does not depend on its size."""
    wire = session.wire
    handle = wire.handle(wire.opendir(path))
    asked = [wire.readdir(handle) for _ in range(_AHEAD)]
    while entries := wire.names(asked.pop(0)):
        asked.append(wire.readdir(handle))
        size.add(sum(len(name) + _ENTRY_BYTES for name, _found in entries), len(entries))
        size.check()
        yield from ((name, found) for name, found in entries if name not in {b".", b".."})
    for number in asked:
        wire.forget(number)
    wire.done(wire.close(handle))


def _shown(name: str) -> str:
    return shortened(escape_name(name), 300)


def _not_regular(text: str) -> SourceChanged:
    return SourceChanged(
        "this is no regular file, and nothing else is ever opened",
        where=Place(file=text),
        remedy="Put the file itself here instead of a link, pipe, device or folder.",
    )
