"""What one FTP client may do on our own drop site.

Owns the session's rules over pyftpdlib's: bytes are kept as they come whatever the transfer type, and nothing is sent
in the clear where there is a certificate. The login stands in `ftp_login`, the order of commands in `ftp_flow`, when an
upload counts as whole in `ftp_data`.
"""

from __future__ import annotations

import re
from typing import Any

from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.ftp_data import Data, TlsData
from cegid_daemon.sites.ftp_files import DropFiles
from cegid_daemon.sites.ftp_flow import Flow
from cegid_daemon.sites.ftp_login import Login
from cegid_daemon.sites.ftp_tls import TlsContexts
from cegid_daemon.sites.pyftpdlib_quietly import SSL, FTPHandler, TLS_FTPHandler

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSUPPORTED = ("STOU", "SITE CHMOD", "MFMT")  # a time set after the transfer would make another file of one just taken


class Session(Login, Flow):
    """What both kinds of control connection have in common; comes before pyftpdlib's class."""

    abstracted_fs = DropFiles
    banner = "cegid-daemon drop site."
    unicode_errors = "surrogateescape"
    use_gmt_times = True
    folders: Any = None  # name of a user -> DropFolder
    _counts_bytes = False  # the client asked for binary transfers
    _announced_size: int | None = None

    def drop_folder(self: Any) -> DropFolder:
        """The folder of who logged in."""
        folder: DropFolder = self.folders(self.authorizer.user(self.username))
        return folder

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

    def process_command(self: Any, cmd: str, *args: Any, **kwargs: Any) -> None:
        """No name has control characters, and a reply that repeated them would be another reply."""
        if cmd != "PASS" and any(_CONTROL.search(one) for one in args):
            self.respond("501 Names with control characters are not taken.")
        else:
            super().process_command(cmd, *args, **kwargs)

    def take_announced_size(self: Any) -> int | None:
        """What ALLO said of the upload that begins now."""
        size: int | None = self._announced_size
        self._announced_size = None
        return size


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
    contexts: TlsContexts | None = None
    session_reuse = False  # data connections must go on with the TLS session of this one

    @classmethod
    def get_ssl_context(cls) -> Any:
        """The context of connections that need none of their own."""
        assert cls.contexts is not None
        return cls.contexts.shared

    def ftp_AUTH(self: Any, line: str) -> None:  # noqa: N802
        """From here on TLS. What came in the clear behind this command is no command: nobody knows who sent it."""
        if self.session_reuse and not isinstance(self.socket, SSL.Connection):
            self.ssl_context = self.contexts.own()
        super().ftp_AUTH(line)
        if isinstance(self.socket, SSL.Connection):
            self.drop_waiting()
