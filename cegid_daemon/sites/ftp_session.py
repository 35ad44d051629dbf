"""What one FTP client may do on our own drop site, and when what it sent counts as whole.

Owns the session's rules over pyftpdlib's: bytes are kept as they come whatever the transfer type, a transfer counts as
whole only if its client is still there, and an address that guesses passwords is not listened to.
"""

from __future__ import annotations

import logging
import socket
from typing import Any

from cegid_daemon.logs import printable
from cegid_daemon.model import SiteUser
from cegid_daemon.sites.admission import Admission
from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.ftp_files import DropFiles
from cegid_daemon.sites.pyftpdlib_quietly import (
    SSL,
    AuthenticationFailed,
    DTPHandler,
    FTPHandler,
    TLS_DTPHandler,
    TLS_FTPHandler,
)
from cegid_daemon.sites.upload import Upload

log = logging.getLogger(__name__)

_CLOSE_WAIT = 8  # state of a TCP connection whose peer has closed it; a reset one is in none of the open states
_MAY = "elradfmw"  # everything but rights and times
_UNSUPPORTED = ("STOU", "SITE CHMOD", "MFMT")  # a time set after the transfer would make another file of one just taken


class Door:
    """The users, as pyftpdlib asks for them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def validate_authentication(self, name: str, password: str, session: Any) -> None:
        """Raises AuthenticationFailed."""
        if not self._admission.admits(name, password, session.remote_ip):
            raise AuthenticationFailed("the login is refused.")

    def get_home_dir(self, name: str) -> str:
        """The user's folder."""
        return self.user(name).folder

    def user(self, name: str) -> SiteUser:
        """The user who logged in."""
        user = self._admission.user(name)
        if user is None:
            raise AuthenticationFailed("the login is refused.")
        return user

    def kept_out(self, address: str) -> bool:
        """Whether the address is not listened to."""
        return self._admission.kept_out(address)

    def has_perm(self, name: str, perm: str, path: str | None = None) -> bool:  # noqa: ARG002
        """Everything within the folder."""
        return perm in _MAY

    def get_perms(self, name: str) -> str:  # noqa: ARG002
        """Everything within the folder."""
        return _MAY

    def get_msg_login(self, name: str) -> str:  # noqa: ARG002
        """The greeting."""
        return "Welcome."

    def get_msg_quit(self, name: str) -> str:  # noqa: ARG002
        """The farewell."""
        return "Goodbye."

    def impersonate_user(self, name: str, password: str) -> None:
        """There is one user of the machine only."""

    def terminate_impersonation(self, name: str) -> None:
        """There is one user of the machine only."""


class Data(DTPHandler):  # type: ignore[misc]
    """A data connection. Ends an upload well, or keeps it for a resumption."""

    transfer_finished: bool

    def enable_receiving(self, kind: str, cmd: str) -> None:  # noqa: ARG002
        """Bytes are kept as they come: a text transfer would change line ends."""
        super().enable_receiving("i", cmd)

    def use_sendfile(self) -> bool:
        """Never for an upload, which is no plain file."""
        return not isinstance(self.file_obj, Upload) and bool(super().use_sendfile())

    def close(self) -> None:
        """Settles what becomes of an upload before the client is answered."""
        if not self._closed and isinstance(self.file_obj, Upload) and not self.file_obj.closed:
            self._settle(self.file_obj)
        super().close()

    def _settle(self, upload: Upload) -> None:
        whole = self.receive and self.transfer_finished and self._was_ended() and self._client_is_there()
        if whole:
            try:
                upload.commit()
            except OSError as error:
                log.warning("An upload of %s could not be kept: %s", printable(upload.name), error)
                self._resp = (f"451 {error.strerror}; the file was not taken.", log.debug)
                self.transfer_finished = False
            else:
                log.info("%s came in from %s.", printable(upload.name), self.cmd_channel.username)
            return
        self.transfer_finished = False
        if upload.too_large:
            upload.discard()
            self._resp = ("552 The file is larger than this site takes.", log.debug)
            return
        upload.keep()
        log.info("An upload of %s broke off and can be resumed.", printable(upload.name))
        if not (self._resp and self._resp[0][0] == "4"):
            self._resp = (f"426 {self._why_broken()}", log.debug)

    def _was_ended(self) -> bool:
        """Whether the sender said that it is done: a reset, which loses bytes, looks the same to pyftpdlib."""
        if isinstance(self.socket, SSL.Connection):
            return bool(self.socket.get_shutdown() & SSL.RECEIVED_SHUTDOWN)
        state = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return bool(state == _CLOSE_WAIT)

    def _why_broken(self) -> str:
        if self.receive and isinstance(self.socket, SSL.Connection) and not self._was_ended():
            return "The data connection ended without TLS's close_notify: nobody can tell whether the file is whole."
        return "Transfer broken off."

    def _client_is_there(self) -> bool:
        """A client that died has ended its data connection just as one that is done; its control connection tells."""
        control = self.cmd_channel
        try:
            pending = control.socket.recv(512, socket.MSG_PEEK)
        except (BlockingIOError, SSL.WantReadError, SSL.WantWriteError):
            return True
        except (OSError, SSL.Error):
            return False
        if pending and isinstance(control.socket, SSL.Connection):  # now in OpenSSL's hands: no event will tell of it
            control.ioloop.call_later(0, control.handle_read_event, _errback=control.handle_error)
        return bool(pending) and b"ABOR" not in pending.upper()


class TlsData(TLS_DTPHandler, Data):  # type: ignore[misc]
    """A data connection over TLS."""


class Session:
    """What both kinds of control connection have in common; comes before pyftpdlib's class."""

    abstracted_fs = DropFiles
    banner = "cegid-daemon drop site."
    unicode_errors = "surrogateescape"
    auth_failed_timeout = 1
    use_gmt_times = True
    most_connections = 0
    folders: Any = None  # name of a user -> DropFolder

    def drop_folder(self: Any) -> DropFolder:
        """The folder of who logged in."""
        folder: DropFolder = self.folders(self.authorizer.user(self.username))
        return folder

    def handle(self: Any) -> None:
        """Greets, unless the site is full or the address is kept out."""
        if len(self.server.ip_map) > self.most_connections:
            self.handle_max_cons()
        elif self.authorizer.kept_out(self.remote_ip):
            self.respond("421 Too many failed logins; try again later.")
            self.close_when_done()
        else:
            super().handle()  # type: ignore[misc]

    def handle_auth_success(self, home: str, _password: str, greeting: str) -> None:
        """Nobody needs the password any more."""
        super().handle_auth_success(home, "", greeting)  # type: ignore[misc]
        self._current_type = "i"

    def push(self: Any, text: str) -> None:
        """Sends a reply; names go back as they came, whatever bytes they are."""
        super(FTPHandler, self).push(text.encode(self.encoding, self.unicode_errors))  # type: ignore[misc]

    def ftp_TYPE(self: Any, line: str) -> None:  # noqa: N802
        """Any type is agreed to, and all are binary."""
        super().ftp_TYPE(line)  # type: ignore[misc]
        self._current_type = "i"


def _commands(of: dict[str, Any]) -> dict[str, Any]:
    return {name: how for name, how in of.items() if name not in _UNSUPPORTED}


class PlainSession(Session, FTPHandler):  # type: ignore[misc]
    """A control connection in the clear, for loopback."""

    dtp_handler = Data
    proto_cmds = _commands(FTPHandler.proto_cmds)


class TlsSession(Session, TLS_FTPHandler):  # type: ignore[misc]
    """A control connection that takes neither login nor data without TLS."""

    dtp_handler = TlsData
    proto_cmds = _commands(TLS_FTPHandler.proto_cmds)
    tls_control_required = True
    tls_data_required = True
    ssl_options = TLS_FTPHandler.ssl_options | SSL.OP_NO_TLSv1 | SSL.OP_NO_TLSv1_1 | SSL.OP_NO_RENEGOTIATION
