"""FTP's words: ftplib's conversation with its weak places mended, and what a refusal means.

Owns what is said on a connection, and no connection. A reply that broke off is none; over TLS data connections continue
the control connection's session, which careful servers demand.
"""

from __future__ import annotations

import ftplib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cegid_daemon.errors import Barred, EndpointError, Permanent, Transient

PLACE_FAILS = frozenset({421, 425, 426})  # the server goes, the data connection did not come or broke: no file's fault
NOT_IMPLEMENTED = frozenset({500, 502, 504})  # replies to a command the server does not know
_RIGHTS = (  # in the languages of our shops, as far as servers speak them
    r"denied|permission|privilege|not (?:allowed|permitted|authori[sz])|authori[sz]ation|forbidden|no access"
    r"|\brights?\b|verweiger|berechtig|zugriff|interdit|non autoris|denegad|negat|permess|permis|toegang|odmow|odep"
)
_TROUBLE = (
    r"|busy|locked|in use|try again|temporar|quota|error|fail|time.?out|abort|overload|refus|can.?not|can't|could not"
    r"|unable"
)
_OF_RIGHTS = re.compile(_RIGHTS, re.IGNORECASE)
_OF_TROUBLE = re.compile(_RIGHTS + _TROUBLE, re.IGNORECASE)


def speaks_of_rights(reply: str) -> bool:
    """Whether a refusal gives missing rights as its reason."""
    return _OF_RIGHTS.search(reply) is not None and "exist" not in reply.lower()


def speaks_of_trouble(reply: str) -> bool:
    """Whether a refusal speaks of missing rights or of something that went wrong, and not of what lies there."""
    return _OF_TROUBLE.search(reply) is not None


class Refusal(Exception):
    """The server answered a command with a failure; `code` is of three digits."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.code = int(reply[:3]) if reply[:3].isdigit() else 0
        self.reply = reply


_REFUSED = (ftplib.error_temp, ftplib.error_perm, ftplib.error_reply, ftplib.error_proto)


class PlainFtp(ftplib.FTP):
    """ftplib's conversation, but a reply that broke off in its middle is none: a size might lack its last digits.

    A data connection the server does not open one way is asked for the other way (PASV, EPSV; PORT, EPRT). Passive
    ones always lead to the host of the control connection: behind NAT a server tells an address nobody can reach.
    """

    _asks_otherwise = False  # the usual way to ask for a passive connection was refused, the other one worked

    def makepasv(self) -> tuple[str, int]:
        """Where to connect to. Raises the refusal of the usual way if both are refused."""
        usual, other = ("PASV", "EPSV") if self.af == socket.AF_INET else ("EPSV", "PASV")
        if self._asks_otherwise:
            return self._passive(other)
        try:
            return self._passive(usual)
        except _REFUSED as refusal:
            if str(refusal)[:3] in {"421", "530"}:
                raise
            try:
                found = self._passive(other)
            except _REFUSED:
                raise refusal from None
        self._asks_otherwise = True
        return found

    def _passive(self, word: str) -> tuple[str, int]:
        reply, peer = self.sendcmd(word), self.sock.getpeername() if self.sock else ("", 0)
        _, port = ftplib.parse227(reply) if word == "PASV" else ftplib.parse229(reply, peer)  # noqa: S321
        return peer[0], port

    def sendport(self, host: str, port: int) -> str:
        """Tells where we listen."""
        try:
            return super().sendport(host, port)
        except ftplib.error_perm:
            return self.sendeprt(host, port)

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

    reused: bool | None = None  # whether the server continued it on the last data connection

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """Opens a data connection; a reply that explains why its TLS failed is raised instead of the failure."""
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            secured = self.context.wrap_socket(plain, server_hostname=self.host, session=self.sock.session)
        except OSError as error:
            plain.close()
            if not isinstance(error, ssl.SSLCertVerificationError):
                self.voidresp()
            raise
        self.reused = secured.session_reused
        return secured, size


@contextmanager
def replies() -> Iterator[None]:
    """Raises a failure the server replied as Refusal."""
    try:
        yield
    except (ftplib.error_temp, ftplib.error_perm, ftplib.error_reply) as error:
        raise Refusal(str(error)) from error


def meaning_of(code: int) -> tuple[type[EndpointError], str]:
    if code in {452, 552}:
        return (
            Transient,
            "The server's disk is full or the quota is used up: free space. It goes on by itself afterwards.",
        )
    if 400 <= code < 500:
        return Transient, "It is tried again by itself."
    if code in {530, 331, 332}:
        return Barred, "Check the user in the url and the password; the server's log says more."
    if code == 550:
        return Transient, "Give the user the right on the server. It goes on by itself afterwards."
    if code == 553:  # vsftpd says so whatever keeps it from making a file
        return Transient, (
            "Give the user the right on the server, or use a shorter or plainer name (`check --live` says which "
            "`temporary` works). It goes on by itself afterwards."
        )
    return Permanent, "The server does not do this; docs/endpoints.md says what a server needs."
