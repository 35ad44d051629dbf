"""ftplib's conversation with its weak places mended: replies that break off, data connections, TLS sessions.

Owns how a data connection is asked for and opened. A reply that broke off is none; over TLS data connections continue
the control connection's session, which careful servers demand.
"""

from __future__ import annotations

import ftplib
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cegid_daemon.endpoints.bounds import Beat, no_beat
from cegid_daemon.endpoints.ftp_replies import ReplyLines
from cegid_daemon.endpoints.ftp_words import DataRefusal

_REFUSED = (ftplib.error_temp, ftplib.error_perm, ftplib.error_reply, ftplib.error_proto)
_SESSION_ENDS = frozenset({"421", "530"})
_OVER = frozenset({"226", "250"})  # a transfer is over
_STRAY_SECONDS = 1.0  # how long bytes may take whose transfer was called over before it began
_PASV = re.compile(r"\A227.*?[0-9]{1,3},[0-9]{1,3},[0-9]{1,3},[0-9]{1,3},([0-9]{1,3}),([0-9]{1,3})(?![0-9])")
_EPSV = re.compile(r"\A229.*?\(\D{3}([0-9]{1,5})\D\)")
_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError, BrokenPipeError)


class TransferOver(Exception):
    """The server called a transfer over instead of beginning it: there was nothing to send.

    `data` may hold bytes all the same, where the server opened a connection for them.
    """

    def __init__(self, reply: str, data: socket.socket | None) -> None:
        super().__init__(reply)
        self.data = data


class PlainFtp(ftplib.FTP):
    """ftplib's conversation, but a reply that broke off in its middle is none: a size might lack its last digits.

    A data connection the server does not open one way is asked for the other way (PASV, EPSV; PORT, EPRT). Passive
    ones always lead to the host of the control connection: behind NAT a server tells an address nobody can reach.
    """

    beat: Beat = staticmethod(no_beat)
    _reads_stray = True
    _asks_otherwise = False  # the usual way to ask for a passive connection was refused, the other one worked

    def makepasv(self) -> tuple[str, int]:
        """Where to connect to. DataRefusal if the server opens no passive connection, whichever way it is asked."""
        usual, other = ("PASV", "EPSV") if self.af == socket.AF_INET else ("EPSV", "PASV")
        if self._asks_otherwise:
            usual, other = other, usual
        try:
            return self._passive(usual)
        except _REFUSED as refusal:
            if str(refusal)[:3] in _SESSION_ENDS:
                raise
            try:
                found = self._passive(other)
            except _REFUSED as second:
                if str(second)[:3] in _SESSION_ENDS:
                    raise
                raise DataRefusal(str(refusal), str(second), passive=True, takes_port=self._takes_port()) from second
        self._asks_otherwise = not self._asks_otherwise
        return found

    def _passive(self, word: str) -> tuple[str, int]:
        reply, peer = self.sendcmd(word), self.sock.getpeername() if self.sock else ("", 0)
        return peer[0], _port_of(reply, _PASV if word == "PASV" else _EPSV)

    def _takes_port(self) -> bool:
        """Whether the server would open connections to us; it is not tried whether it can."""
        try:
            self.makeport().close()
        except (*_REFUSED, DataRefusal):
            return False
        return True

    def makeport(self) -> socket.socket:
        """A socket that listens, of which the server was told. DataRefusal if it takes neither PORT nor EPRT."""
        assert self.sock is not None
        host = self.sock.getsockname()[0]
        listener = socket.create_server(("", 0), family=self.af, backlog=1)
        try:
            self._tell_port(host, listener.getsockname()[1])
        except BaseException:
            listener.close()
            raise
        listener.settimeout(self.timeout)
        return listener

    def _tell_port(self, host: str, port: int) -> None:
        """EPRT at once where addresses are too long for PORT."""
        try:
            (self.sendport if self.af == socket.AF_INET else self.sendeprt)(host, port)
        except _REFUSED as refusal:
            if str(refusal)[:3] in _SESSION_ENDS:
                raise
            try:
                if self.af != socket.AF_INET:
                    raise
                self.sendeprt(host, port)
            except _REFUSED as second:
                raise DataRefusal(str(refusal), str(second), passive=False) from second

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Opens a data connection for a command. TransferOver if the server has nothing to send over it."""
        with self._data_way() as way:
            if rest is not None:
                self.sendcmd(f"REST {rest}")
            reply = self.sendcmd(cmd)
            if reply[:3] in _OVER:
                raise TransferOver(reply, self._stray(way))
            if reply[0] == "2":  # some servers say 200 first
                reply = self.getresp()
            if reply[0] != "1":
                raise ftplib.error_reply(reply)  # noqa: S321
            return (way if self.passiveserver else self._accepted(way)), None

    @contextmanager
    def _data_way(self) -> Iterator[socket.socket]:
        """A connection to the server, or a socket that listens for its own; closed unless it is what comes of it."""
        if not self.passiveserver:
            with self.makeport() as listener:
                yield listener
            return
        connection = socket.create_connection(self.makepasv(), self.timeout)
        try:
            yield connection
        except BaseException as error:
            if getattr(error, "data", None) is not connection:
                connection.close()
            raise

    def _accepted(self, listener: socket.socket) -> socket.socket:
        """The connection of the server itself: whoever else comes to the port is turned away."""
        assert self.sock is not None
        end = time.monotonic() + (self.timeout or 0)
        while time.monotonic() <= end:
            connection, (host, *_) = listener.accept()
            if host == self.sock.getpeername()[0]:
                connection.settimeout(self.timeout)
                return connection
            connection.close()
        raise TimeoutError

    def _stray(self, way: socket.socket) -> socket.socket | None:
        """What may hold bytes of a transfer that is over; None where none came."""
        if not self._reads_stray or not _is_readable(way):
            return None
        if self.passiveserver:
            return way
        connection = self._accepted(way)
        if _is_readable(connection):
            return connection
        connection.close()
        return None

    def hear(self) -> None:
        """From now on replies come over the socket as it is."""
        assert self.sock is not None
        lines = ReplyLines(self.sock, float(self.timeout or 0), self.beat)
        self.file = lines  # type: ignore[assignment]

    def getmultiline(self) -> str:
        """A whole reply, its lines parted by `\\n`. Excess if it is without end."""
        if isinstance(self.file, ReplyLines):
            self.file.begin()
        lines = [self.getline()]
        code = lines[0][:3]
        if lines[0][3:4] == "-":
            while len(lines) == 1 or lines[-1][:3] != code or lines[-1][3:4] == "-":
                lines.append(self.getline())
        return "\n".join(lines)

    def getline(self) -> str:
        """A whole line. EOFError if the connection ended before its end."""
        assert self.file is not None
        line = self.file.readline(self.maxline + 1)
        if len(line) > self.maxline:
            raise ftplib.error_proto("a line without end")  # noqa: S321
        if not line.endswith("\n"):
            raise EOFError
        return line.rstrip("\r\n")


class TlsFtp(PlainFtp, ftplib.FTP_TLS):
    """FTP over TLS whose data connections continue the control connection's session."""

    _reads_stray = False  # bytes that nothing protects are none
    reused: bool | None = None  # whether the server continued it on the last data connection

    def auth(self) -> str:
        """Begins TLS. What came with the answer was sent by nobody who is known yet: error_proto, as for no answer."""
        assert self.sock is not None
        reply = self.voidcmd("AUTH TLS")
        if isinstance(self.file, ReplyLines) and self.file.has_unread:
            raise ftplib.error_proto("bytes came behind the answer to AUTH TLS, ahead of TLS itself")  # noqa: S321
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.host)
        self.hear()
        return reply

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Opens a data connection; a reply that explains why its TLS failed is raised instead of the failure.

        TransferOver where the server closes the connection without TLS and says that all went well.
        """
        plain, size = super().ntransfercmd(cmd, rest)
        try:
            return self._secured(plain), size
        except OSError as error:
            plain.close()
            if not isinstance(error, ssl.SSLCertVerificationError):
                reply = self.voidresp()
                if isinstance(error, _CLOSED) and reply[:3] in _OVER:
                    raise TransferOver(reply, None) from error
            raise

    def _secured(self, plain: socket.socket) -> socket.socket:
        assert isinstance(self.sock, ssl.SSLSocket)
        _refuse_reset(plain)  # the ssl module leaks such a one
        secured = self.context.wrap_socket(plain, server_hostname=self.host, session=self.sock.session)
        if secured.version() is None:  # reset meanwhile: it would be read without TLS
            secured.close()
            raise ConnectionResetError
        self.reused = secured.session_reused
        return secured


def _port_of(reply: str, pattern: re.Pattern[str]) -> int:
    """The port in an answer to PASV or EPSV; the address beside it is never used. error_reply if there is none."""
    found = pattern.search(reply)
    if found is None:
        raise ftplib.error_reply(reply)  # noqa: S321
    *high, low = (int(group) for group in found.groups())
    port = (high[0] << 8) + low if high else low
    if max(high or [0]) > 255 or (high and low > 255) or not 0 < port < 1 << 16:
        raise ftplib.error_reply(reply)  # noqa: S321
    return port


def _refuse_reset(sock: socket.socket) -> None:
    try:
        sock.getpeername()
    except OSError as error:
        raise ConnectionResetError from error


def _is_readable(sock: socket.socket) -> bool:
    waiting = select.poll()  # as `select` knows no descriptor beyond 1,023
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(_STRAY_SECONDS * 1000))
