"""What is said on an FTP connection: commands, their replies, names, and what failures of the line mean.

Owns the exchange of commands and replies on a connection that stands; login and transfers are the link's. Names go over
the line as the endpoint's encoding has them, whatever bytes they are.
"""

from __future__ import annotations

import ftplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cegid_daemon.endpoints.bounds import Excess
from cegid_daemon.endpoints.ftp_conversation import PlainFtp
from cegid_daemon.endpoints.ftp_words import NOT_IMPLEMENTED, PLACE_FAILS, Refusal, meaning_of, replies
from cegid_daemon.endpoints.net import answer_lost, net_error
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import EndpointError, Permanent, Place, Transient

BROKEN_LINE = (OSError, EOFError, ftplib.error_proto, ftplib.error_reply, Excess)
WIRE = "latin-1"  # ftplib wants text: each byte as itself


class FtpCommands:
    """The half of a link that speaks in commands."""

    def __init__(self, server: Server, ftp: PlainFtp) -> None:
        self.in_transfer = False
        self._server = server
        self._ftp = ftp
        self._ftp.encoding = WIRE
        self._broken = False
        self._unknown: set[str] = set()  # commands the server does not know, whatever it says of itself

    @property
    def usable(self) -> bool:
        """Whether it is between two calls and not broken."""
        return not self._broken and not self.in_transfer

    @contextmanager
    def telling(self, what: str, path: str) -> Iterator[None]:
        """Translates what the conversation raises; a fault of the line ends the connection."""
        try:
            yield
        except Refusal as refusal:
            raise self.refused(refusal, what, path) from refusal
        except BROKEN_LINE as error:
            self._broken = True
            raise net_error(error, what, path) from error

    def refused(self, refusal: Refusal, what: str, path: str) -> EndpointError:
        """A reply as the error tree says it, as far as the reply alone can tell."""
        kind, remedy = meaning_of(refusal.code)
        if refusal.code == 421:
            self._broken = True
        error = kind(what, where=Place(file=path), why=refusal.reply, remedy=refusal.remedy or remedy)
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
            self._sock.sendall("".join(f"{line}\r\n" for line in some).encode(WIRE))
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
        except BROKEN_LINE as error:
            self._broken = True
            raise answer_lost(error, what, path) from error

    def accepts(self, line: str) -> bool:
        """Whether the server takes a command; raises only faults of the line."""
        try:
            self.command(line)
        except Refusal:
            return False
        return True

    def said(self, name: str) -> str:
        """A name as it goes over the line. Permanent if FTP or the endpoint's encoding cannot say it."""
        try:
            text = name.encode(self._server.encoding, "surrogateescape").decode(WIRE)
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
