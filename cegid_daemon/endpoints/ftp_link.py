"""One FTP connection: login, TLS, commands, data connections, and what a server's replies mean.

Owns the conversation; which commands make up a listing or a delivery is the endpoint's. Names go over the line as the
endpoint's encoding has them, whatever bytes they are. Over TLS the data connection continues the control connection's
session, which careful servers demand, and both are encrypted and verified.
"""

from __future__ import annotations

import ftplib
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from cegid_daemon.endpoints.ftp_words import (
    NOT_IMPLEMENTED,
    PLACE_FAILS,
    PlainFtp,
    Refusal,
    TlsFtp,
    meaning_of,
    replies,
)
from cegid_daemon.endpoints.net import answer_lost, connected, guard, net_error
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.trust import tls_context
from cegid_daemon.errors import Barred, EndpointError, Permanent, Place, Transient

RECEIVE = 1 << 18
_BROKEN_LINE = (OSError, EOFError, ftplib.error_proto, ftplib.error_reply)
_IS_IT_THERE = 5.0  # seconds an idle connection may take to answer
_FAREWELL = 5.0  # seconds a server may take to end TLS on a data connection
_WIRE = "latin-1"  # ftplib wants text: each byte as itself
_ORDERLY = struct.pack("ii", 0, 0)  # an upload that ended orderly is ended by FIN …
_RESET = struct.pack("ii", 1, 0)  # … any other by RST, also by a kill: after a FIN a server would call it whole


class FtpLink:
    """One logged-in connection, lent to one caller at a time."""

    def __init__(self, server: Server) -> None:
        """Connects and logs in. Untrusted, Barred or Transient if that fails."""
        self.in_transfer = False
        self._server = server
        self._broken = False
        self._unknown: set[str] = set()  # commands the server does not know, whatever it says of itself
        self._data: socket.socket | None = None
        self._tls = None if server.scheme == "ftp" else TlsFtp(context=tls_context(server))
        self._ftp = self._tls or PlainFtp()
        self._ftp.encoding = _WIRE
        self._ftp.set_pasv(server.passive)
        try:
            with self.telling("cannot connect", server.where):
                self._connect()
            self._log_in()
            with self.telling("cannot begin the session", server.where):
                self.features = self._ask_features()
                self.command("TYPE I")
                self.root = self._find_root()
        except Permanent as error:  # no message is at fault that the server does not let us in
            self._ftp.close()
            raise Barred(error.what, where=error.where, why=error.why, remedy=error.remedy) from error
        except BaseException:
            self._ftp.close()
            raise

    @property
    def usable(self) -> bool:
        """Whether it is between two calls and not broken."""
        return not self._broken and not self.in_transfer

    @property
    def has_mlst(self) -> bool:
        """Whether the server lists by the standard."""
        return "MLST" in self.features - self._unknown

    def facts(self) -> dict[str, str]:
        """What the server said of itself at the login, in words for people."""
        known = {"software": (self._ftp.welcome or "")[4:].strip()}
        for name, word in (("MLSD", "MLST"), ("MDTM", "MDTM"), ("SIZE", "SIZE"), ("resume", "REST"), ("UTF-8", "UTF8")):
            known[name] = "yes" if word in self.features else "no"
        if self._tls is not None and isinstance(self._ftp.sock, ssl.SSLSocket):
            known["TLS"] = self._ftp.sock.version() or "none"
            known["session reuse"] = {None: "unknown", True: "yes", False: "no"}[self._tls.reused]
        return known

    def lives(self) -> bool:
        """Asks the server, and does not wait long for it."""
        try:
            self._sock.settimeout(min(self._server.seconds, _IS_IT_THERE))
            self.command("NOOP")
            self._sock.settimeout(self._server.seconds)
        except (*_BROKEN_LINE, Refusal):
            return False
        return True

    def interrupt(self) -> None:
        """Whoever waits on this connection fails at once; the sockets themselves are closed by their user."""
        for sock in (self._data, self._ftp.sock):
            if sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of the TCP socket, not of TLS

    def end(self) -> None:
        """Ends the connection without a farewell, which some servers keep one waiting for."""
        with suppress(*_BROKEN_LINE, ValueError):
            self._close_data()
        with suppress(*_BROKEN_LINE, ValueError):
            self._ftp.close()

    @contextmanager
    def telling(self, what: str, path: str) -> Iterator[None]:
        """Translates what the conversation raises; a fault of the line ends the connection."""
        try:
            yield
        except Refusal as refusal:
            raise self.refused(refusal, what, path) from refusal
        except _BROKEN_LINE as error:
            self._broken = True
            raise net_error(error, what, path) from error

    def refused(self, refusal: Refusal, what: str, path: str) -> EndpointError:
        """A reply as the error tree says it, as far as the reply alone can tell."""
        kind, remedy = meaning_of(refusal.code)
        if refusal.code == 421:
            self._broken = True
        error = kind(what, where=Place(file=path), why=refusal.reply, remedy=remedy)
        return error.by_place() if isinstance(error, Transient) and refusal.code in PLACE_FAILS else error

    def command(self, line: str) -> str:
        """Sends a command and gives the reply, which is not a failure. Raises Refusal or a fault of the line."""
        with self._noting(line), replies():
            return self._ftp.sendcmd(line)

    def command_once(self, line: str, what: str, path: str) -> None:
        """A command that must not be sent twice. Unsure if its reply is lost; Refusal passes."""
        with self.telling(what, path):
            self._ftp.putcmd(line)
        with self.once(what, path), replies():
            self._ftp.voidresp()

    def commands(self, lines: Sequence[str], ahead: int) -> Iterator[str | Refusal]:
        """The replies to commands, `ahead` of them sent before the first is answered. Raises only faults of the line.

        Whoever does not take all of them leaves the connection unusable: the others are on their way.
        """
        self.in_transfer = True
        for at in range(0, len(lines), ahead):
            some = lines[at : at + ahead]
            self._sock.sendall("".join(f"{line}\r\n" for line in some).encode(_WIRE))
            for line in some:
                try:
                    with self._noting(line), replies():
                        reply = self._ftp.getresp()
                except Refusal as refusal:
                    yield refusal
                else:
                    yield reply
        self.in_transfer = False

    @contextmanager
    def _noting(self, line: str) -> Iterator[None]:
        """Remembers a command that the server does not know."""
        try:
            yield
        except Refusal as refusal:
            if refusal.code in NOT_IMPLEMENTED:
                self._unknown.add(line.partition(" ")[0])
            raise

    @contextmanager
    def once(self, what: str, path: str) -> Iterator[None]:
        """What was asked for in here may have happened when the line breaks: Unsure."""
        try:
            yield
        except _BROKEN_LINE as error:
            self._broken = True
            raise answer_lost(error, what, path) from error

    def accepts(self, line: str) -> bool:
        """Whether the server takes a command; raises only faults of the line."""
        try:
            self.command(line)
        except Refusal:
            return False
        return True

    def listing(self, line: str) -> bytes:
        """The whole of a listing."""
        self.begin(line)
        body = b"".join(self.received())
        try:
            self.complete()
        except Refusal as refusal:
            if body:  # it says nothing of what is there
                raise Refusal(f"426 The listing broke off: {refusal.reply}") from refusal
            raise
        return body

    def begin(self, line: str, start: int = 0) -> None:
        """Begins a transfer, from byte `start`; one at a time. Until `complete` the connection is not usable."""
        self.in_transfer = True
        try:
            with replies():
                self._data = self._ftp.transfercmd(line, rest=start or None)
        except Refusal:
            self.in_transfer = False
            raise
        guard(self._data, self._server.seconds)
        if line.startswith("STOR"):
            self._data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def received(self) -> Iterator[bytes]:
        """What comes over the data connection, in large pieces: TLS gives 16 KiB at a time."""
        assert self._data is not None
        buffer = memoryview(bytearray(RECEIVE))
        filled = 1
        while filled:
            filled = 0
            while filled < RECEIVE and (got := self._data.recv_into(buffer[filled:])):
                filled += got
            if filled:
                yield bytes(buffer[:filled])

    def send(self, body: bytes) -> None:
        """Sends over the data connection; if the server ended it, raises the reply that says why."""
        assert self._data is not None
        try:
            self._data.sendall(body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self.complete()
            raise

    def complete(self) -> None:
        """Ends the data connection and takes the reply to the transfer."""
        if self._data is not None:
            with suppress(OSError):
                self._data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ORDERLY)
        if isinstance(self._data, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # all has arrived or not: the size will tell
                self._data.settimeout(min(self._server.seconds, _FAREWELL))
                self._data.unwrap()
        self._close_data()
        try:
            with replies():
                self._ftp.voidresp()
        except Refusal:
            self.in_transfer = False
            raise
        self.in_transfer = False

    def said(self, name: str) -> str:
        """A name as it goes over the line. Permanent if FTP or the endpoint's encoding cannot say it."""
        try:
            text = name.encode(self._server.encoding, "surrogateescape").decode(_WIRE)
        except UnicodeEncodeError:
            text = "\n"
        if "\r" in text or "\n" in text:
            raise Permanent(
                f"the name {name!r} cannot be said in FTP with the encoding {self._server.encoding}",
                where=Place(file=self._server.where),
                remedy="Use another name, or the endpoint's right `encoding`.",
            )
        return text

    def heard(self, name: bytes) -> str:
        """A name as the daemon writes it."""
        return name.decode(self._server.encoding, "surrogateescape")

    @property
    def _sock(self) -> socket.socket:
        if self._ftp.sock is None:
            raise EOFError
        return self._ftp.sock

    def _connect(self) -> None:
        sock = connected(self._server.host, self._server.port, self._server.seconds)
        ftp = self._ftp
        ftp.host, ftp.port, ftp.timeout, ftp.af = (
            self._server.host,
            self._server.port,
            self._server.seconds,
            sock.family,
        )
        if self._tls is not None and self._server.scheme == "ftps+implicit":
            sock = self._tls.context.wrap_socket(sock, server_hostname=self._server.host)
        ftp.sock = sock
        ftp.file = sock.makefile("r", encoding=_WIRE)
        with replies():
            ftp.welcome = ftp.getresp()

    def _log_in(self) -> None:
        server, tls, where = self._server, self._tls, self._server.where
        user, password = self.said(server.user), self.said(server.password.reveal() if server.password else "")
        if tls is not None and server.scheme == "ftps":
            self._begin_tls(tls)
        with self.telling("cannot log in", where), replies():
            ftplib.FTP.login(self._ftp, user, password)  # noqa: S321
        if tls is not None:
            with self.telling("cannot encrypt the data connections", where), replies():
                tls.prot_p()

    def _begin_tls(self, tls: TlsFtp) -> None:
        where = self._server.where
        with self.telling("cannot begin TLS", where):
            try:
                with replies():
                    tls.auth()
            except Refusal as refusal:
                if refusal.code < 500:
                    raise
                raise Barred(
                    "the server offers no TLS here",
                    where=Place(file=where),
                    why=refusal.reply,
                    remedy="Have it offer explicit TLS; ftp:// sends the password and all files in the clear.",
                ) from refusal

    def _ask_features(self) -> frozenset[str]:
        """The words of FEAT in capitals; none where the server does not know FEAT."""
        try:
            said = self.command("FEAT").splitlines()[1:-1]
        except Refusal:
            return frozenset()
        features = frozenset(line.split()[0].upper() for line in said if line.strip())
        if "UTF8" in features and self._server.encoding.lower() in {"utf-8", "utf8"}:
            self.accepts("OPTS UTF8 ON")
        if "MLST" in features:
            self.accepts("OPTS MLST type;size;modify;unique;")
        return features

    def _find_root(self) -> str:
        """The endpoint's folder as an absolute path: a second slash in the url leads away from the login folder."""
        path = self.said(self._server.path[1:].rstrip("/"))
        if path.startswith("/") or self._server.path == "//":
            return path
        with replies():
            login = self._ftp.pwd()
        return f"{login.rstrip('/')}/{path}".rstrip("/")

    def _close_data(self) -> None:
        data, self._data = self._data, None
        if data is not None:
            data.close()
