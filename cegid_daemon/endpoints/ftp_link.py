"""One FTP connection: login, TLS and transfers.

Owns the connection; which commands make up a listing or a delivery is the endpoint's. Over TLS control and data
connections are encrypted and verified.
"""

from __future__ import annotations

import ftplib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from cegid_daemon.endpoints.bounds import Deadline, Excess, ListingSize, Progress, shortened
from cegid_daemon.endpoints.ftp_commands import BROKEN_LINE, FtpCommands
from cegid_daemon.endpoints.ftp_conversation import PlainFtp, TlsFtp, TransferOver
from cegid_daemon.endpoints.ftp_words import DataRefusal, Refusal, replies
from cegid_daemon.endpoints.net import connected, guard
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.trust import tls_context
from cegid_daemon.errors import Barred, Permanent, Place

RECEIVE = 1 << 18
_IS_IT_THERE = 5.0  # seconds an idle connection may take to answer
_FAREWELL = 5.0  # seconds a server may take to end TLS on a data connection
_ORDERLY = struct.pack("ii", 0, 0)  # an upload that ended orderly is ended by FIN …
_RESET = struct.pack("ii", 1, 0)  # … any other by RST, also by a kill: after a FIN a server would call it whole


class FtpLink(FtpCommands):
    """One logged-in connection, lent to one caller at a time."""

    def __init__(self, server: Server) -> None:
        """Connects and logs in. Untrusted, Barred or Transient if that fails."""
        self._tls = None if server.scheme == "ftp" else TlsFtp(context=tls_context(server))
        super().__init__(server, self._tls or PlainFtp())
        self._data: socket.socket | None = None
        self._is_over = False  # the server called the transfer over instead of beginning it
        self._ftp.set_pasv(server.passive)
        self._ftp.beat = server.beat
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
    def has_mlst(self) -> bool:
        """Whether the server lists by the standard."""
        return "MLST" in self.features - self._unknown

    def facts(self) -> dict[str, str]:
        """What the server said of itself at the login, in words for people."""
        known = {"software": shortened((self._ftp.welcome or "")[4:].strip())}
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
        except (*BROKEN_LINE, Refusal):
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
        with suppress(*BROKEN_LINE, ValueError):
            self._close_data()
        with suppress(*BROKEN_LINE, ValueError):
            self._ftp.close()

    def listing(self, line: str) -> bytes:
        """The whole of a listing."""
        size = ListingSize(Deadline.of_listing(self._server.seconds, self._server.beat))
        self.begin(line)
        pieces = []
        for piece in self.received(size.check):
            entries = piece.count(b"\n")
            if not entries and len(piece) == RECEIVE:
                raise Excess(f"the listing has a line of more than {RECEIVE >> 10} KiB")
            size.add(len(piece), entries)
            pieces.append(piece)
        body = b"".join(pieces)
        try:
            self.complete()
        except Refusal as refusal:
            if body:  # it says nothing of what is there
                raise Refusal(f"426 The listing broke off: {refusal.reply}") from refusal
            raise
        return body

    def begin(self, line: str, start: int = 0) -> None:
        """Begins a transfer, from byte `start`; one at a time. Until `complete` the connection is not usable."""
        uploads = line.startswith("STOR")
        self.in_transfer, self._is_over = True, False
        try:
            with replies():
                self._data = self._ftp.transfercmd(line, rest=start or None)
        except Refusal as refusal:
            self.in_transfer = False
            self._broken |= isinstance(refusal, DataRefusal)  # what was asked for in vain may be answered later
            raise
        except TransferOver as over:
            self._data, self._is_over = over.data, True
            if uploads:
                raise Refusal(f"425 The server called the upload over before it began: {over}") from over
        if self._data is None:
            return
        guard(self._data, self._server.seconds)
        if uploads:
            self._data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def received(self, check: Callable[[], None] = lambda: None) -> Iterator[bytes]:
        """What comes over the data connection, in large pieces: TLS gives 16 KiB at a time; `check` may end it."""
        data = self._data
        if data is None:
            return
        progress = Progress(self._server.seconds)
        buffer = memoryview(bytearray(RECEIVE))
        filled = progress.receive(lambda: self._first_into(buffer))
        while filled:
            while filled < RECEIVE and (got := progress.receive(partial(data.recv_into, buffer[filled:]))):
                filled += got
                check()
            yield bytes(buffer[:filled])
            filled = progress.receive(partial(data.recv_into, buffer))

    def _first_into(self, buffer: memoryview) -> int:
        """A connection that is closed unused may end in a reset: the reply to the transfer says whether all is well."""
        assert self._data is not None
        try:
            return self._data.recv_into(buffer)
        except ConnectionResetError:
            return 0

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
                if not self._is_over:
                    self._ftp.voidresp()
        except Refusal:
            self.in_transfer = False
            raise
        self.in_transfer = False

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
        ftp.hear()
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
