"""SFTP sessions on one shared SSH connection, and what their failures mean.

Owns the connection and its replacement, the translation of every status and every fault of the line into the error
tree, and paths as the server reads them.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import paramiko

from cegid_daemon.endpoints.bounds import Excess
from cegid_daemon.endpoints.connections import Connections, Logins
from cegid_daemon.endpoints.net import answer_lost, net_error
from cegid_daemon.endpoints.paths import checked_name, folder_parts
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.sftp_packets import POSIX_RENAME, Attributes, Code, Status, WireError
from cegid_daemon.endpoints.sftp_wire import Wire
from cegid_daemon.endpoints.ssh_link import SshLink
from cegid_daemon.errors import Absent, EndpointError, Exists, Permanent, Place, Transient

_BROKEN_LINE = (OSError, EOFError, WireError, struct.error, paramiko.SSHException, Excess)
_IS_IT_THERE = 5.0  # seconds an idle session may take to answer

_MEANING: dict[int, tuple[type[EndpointError], str]] = {
    Code.NO_SUCH_FILE: (Absent, ""),
    Code.FILE_ALREADY_EXISTS: (Exists, ""),
    Code.PERMISSION_DENIED: (Transient, "Give the user the right on the server. It goes on by itself afterwards."),
    Code.FAILURE: (Transient, "The server does not say why; its disk may be full. It is tried again by itself."),
    Code.BAD_MESSAGE: (Permanent, "The server does not take this name: use a shorter or plainer one."),
    Code.OP_UNSUPPORTED: (Permanent, "The server cannot do this."),
}

_PLACE_FAILS = frozenset({Code.NO_CONNECTION, Code.CONNECTION_LOST})  # no single file is at fault


class SftpSession:
    """One session, lent to one caller at a time."""

    def __init__(self, link: SshLink) -> None:
        """Opens a session on a live connection."""
        self._trusted_rename = "OpenSSH" in link.software  # its plain rename never replaces
        self.in_transfer = False
        self._link = link
        self._broken = False
        self._channel = link.sftp_channel()
        with self.telling("cannot open an SFTP session", ""):
            self.wire = Wire(self._channel, link.timeout_seconds, link.beat)

    @property
    def usable(self) -> bool:
        """Whether it is between two calls and not broken."""
        return not self._broken and not self.in_transfer and not self._channel.closed

    def lives(self) -> bool:
        """Asks for the home folder, and does not wait long for it."""
        before = self._channel.gettimeout()
        self._channel.settimeout(min(before, _IS_IT_THERE))
        try:
            self.wire.names(self.wire.realpath(b"."))
        except (*_BROKEN_LINE, Status):
            return False
        self._channel.settimeout(before)
        return True

    def interrupt(self) -> None:
        """Whoever waits on the session fails at once."""
        self.end()

    def end(self) -> None:
        """Ends the session."""
        with suppress(*_BROKEN_LINE):
            self._channel.close()

    @contextmanager
    def telling(self, what: str, path: str) -> Iterator[None]:
        """Translates what the wire raises; `path` is text for people. A fault of the line ends the session."""
        try:
            yield
        except Status as status:
            raise status_error(status, what, path or self._link.where) from status
        except _BROKEN_LINE as error:
            self._give_up()
            raise net_error(error, what, path or self._link.where) from error

    @contextmanager
    def explaining(self, what: str, path: bytes, text: str, to: bytes | None = None) -> Iterator[None]:
        """As `telling`, but where the server's answer leaves open why, looks at what lies at `path` and `to`."""
        with self.telling(what, text):
            try:
                yield
            except Status as status:
                raise self._explained(status, what, path, text, to) from status

    def _explained(self, status: Status, what: str, path: bytes, text: str, to: bytes | None) -> EndpointError:
        if status.code == Code.FAILURE:
            found = self.look(path)
            if to is not None and found is not None and self.look(to) is not None:
                return Exists(f"{what}: the name is taken", where=Place(file=text), why=status.text)
            if to is not None and found is None:
                return Absent(what, where=Place(file=text), why=status.text)
            if to is None and found is not None and found.folder:
                return Permanent(what, where=Place(file=text), why="it is a folder", remedy="Move the folder away.")
        return status_error(status, what, text)

    def renames_by(self, *, replace: bool) -> Callable[[bytes, bytes], int] | None:
        """The one request that renames; None where the new name has to be looked at before."""
        if replace and POSIX_RENAME in self.wire.extensions:
            return partial(self.wire.extended, POSIX_RENAME)
        return self.wire.rename if self._trusted_rename else None

    def ask_once(self, number: int, what: str, path: str) -> None:
        """Waits for the success of a request that must not be sent twice. Unsure if its answer is lost."""
        with self.telling(what, path):
            self.wire.flush()
        with self.once(what, path):
            self.wire.done(number)

    @contextmanager
    def once(self, what: str, path: str) -> Iterator[None]:
        """What was asked for in here may have happened when the line breaks: Unsure."""
        try:
            yield
        except _BROKEN_LINE as error:
            self._give_up()
            raise answer_lost(error, what, path) from error

    def _give_up(self) -> None:
        """The session is of no further use; nor is the connection, unless it was the server that ended the session."""
        self._broken = True
        if not self._channel.closed:
            self._link.end()

    def look(self, path: bytes) -> Attributes | None:
        """The entry's own attributes, None if there is none. Raises what the wire raises."""
        try:
            return self.wire.attributes(self.wire.lstat(path))
        except Status as status:
            if status.code == Code.NO_SUCH_FILE:
                return None
            raise


class SftpSessions:
    """Up to `channels` sessions on one connection, which is opened anew when it has died."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._logins = Logins(server)
        self._link: SshLink | None = None
        self._opening = threading.Lock()
        self._pool = Connections(server, self._open)
        self.lend = self._pool.lend
        self._root = _root(server)
        self.can_replace = True  # until a server says that it cannot

    def close(self) -> None:
        """Ends the sessions and the connection, those in use too."""
        link, self._link = self._link, None
        self._pool.close()
        if link is not None:
            link.end()

    def link(self) -> SshLink:
        """The live connection, opened if need be."""
        with self._opening:
            link = self._link
            if link is None or not link.alive:
                if link is not None:
                    link.end()
                self._logins.begin()
                self._link = link = SshLink(self._server)
            return link

    def path(self, folder: str, name: str = "") -> bytes:
        """The path on the server. ValueError if it could lead out of the endpoint's folder."""
        parts = [*folder_parts(folder), *([checked_name(name)] if name else [])]
        below = "/".join(parts)
        if self._root == "/":
            return self.encoded(f"/{below}")
        return self.encoded("/".join(part for part in (self._root, below) if part) or ".")

    def text(self, folder: str, name: str = "") -> str:
        """The same place for people."""
        return "/".join(part for part in (self._server.where, folder, name) if part)

    def encoded(self, name: str) -> bytes:
        """A name as the server writes it. Permanent if the endpoint's encoding cannot."""
        try:
            return name.encode(self._server.encoding, "surrogateescape")
        except UnicodeEncodeError as error:
            raise Permanent(
                f"the name {name!r} cannot be written in {self._server.encoding}",
                where=Place(file=self._server.where),
                remedy="Use another name, or the endpoint's right `encoding`.",
            ) from error

    def decoded(self, name: bytes) -> str:
        """A name as the daemon writes it."""
        return name.decode(self._server.encoding, "surrogateescape")

    def _open(self) -> SftpSession:
        session = SftpSession(self.link())
        self.can_replace = POSIX_RENAME in session.wire.extensions
        return session


def status_error(status: Status, what: str, path: str) -> EndpointError:
    """A status as the error tree says it."""
    kind, remedy = _MEANING.get(status.code, (Transient, "It is tried again by itself."))
    error = kind(what, where=Place(file=path), why=status.text or f"status {status.code}", remedy=remedy)
    return error.by_place() if isinstance(error, Transient) and status.code in _PLACE_FAILS else error


def _root(server: Server) -> str:
    """`/exchange` as it stands, `/~/exchange` relative to the home; no path at all is the server's root."""
    path = server.path.rstrip("/")
    if path == "/~" or path.startswith("/~/"):
        return path[3:]
    return path or "/"
