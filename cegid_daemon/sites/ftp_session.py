"""What one FTP client may do on our own drop site, and when what it sent counts as whole.

Owns the session's rules over pyftpdlib's: bytes are kept as they come whatever the transfer type, commands are answered
behind the upload they follow, and an address that guesses passwords is not listened to. When an upload counts as whole
stands in `ftp_data`.
"""

from __future__ import annotations

import re
from typing import Any

from cegid_daemon.model import SiteUser
from cegid_daemon.sites.admission import Admission
from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.ftp_data import Data, TlsData
from cegid_daemon.sites.ftp_files import DropFiles
from cegid_daemon.sites.pyftpdlib_quietly import (
    SSL,
    AuthenticationFailed,
    FTPHandler,
    TLS_FTPHandler,
)

_MAX_WAITING_COMMANDS = 1000  # of one client, behind an upload that is not answered yet
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


class Session:
    """What both kinds of control connection have in common; comes before pyftpdlib's class."""

    abstracted_fs = DropFiles
    banner = "cegid-daemon drop site."
    unicode_errors = "surrogateescape"
    auth_failed_timeout = 1
    use_gmt_times = True
    most_connections = 0
    folders: Any = None  # name of a user -> DropFolder
    _counts_bytes = False  # the client asked for binary transfers
    _announced_size: int | None = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        self._waiting_commands: list[tuple[str, str, str]] = []
        super().__init__(*args, **settings)

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
        self._counts_bytes = line.strip().upper().startswith("I")

    def ftp_ALLO(self: Any, line: str) -> None:  # noqa: N802
        """The client says how large the next file is. In a text transfer the number may count other bytes."""
        found = re.match(r"\s*(\d{1,18})", line)
        self._announced_size = int(found[1]) if found and self._counts_bytes else None
        self.respond("200 Noted.")  # after 202, superfluous, clients announce nothing any more

    def take_announced_size(self: Any) -> int | None:
        """What ALLO said of the upload that begins now."""
        size: int | None = self._announced_size
        self._announced_size = None
        return size

    # -- commands that come before an upload was answered -----------------------------------------------------------

    def pre_process_command(self: Any, line: str, cmd: str, arg: str) -> None:
        """A command behind an upload that is not answered yet may have to wait for that."""
        data = self._unanswered_upload()
        if data is None or data.take_command(cmd[-4:], others_wait=bool(self._waiting_commands)):
            super().pre_process_command(line, cmd, arg)  # type: ignore[misc]
        elif len(self._waiting_commands) < _MAX_WAITING_COMMANDS:
            self._waiting_commands.append((line, cmd, arg))
        else:
            self.respond("421 Too many commands ahead of an upload's end.")
            self.close_when_done()

    def _on_dtp_close(self: Any) -> None:
        super()._on_dtp_close()  # type: ignore[misc]
        waiting, self._waiting_commands = self._waiting_commands, []
        for command in waiting:
            if not self._closed and not self._closing:
                self.pre_process_command(*command)

    def _unanswered_upload(self: Any) -> Data | None:
        data = getattr(self, "data_channel", None)
        return data if isinstance(data, Data) and data.is_unanswered_upload else None


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
