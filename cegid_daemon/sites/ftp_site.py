"""Our own FTP drop site: pyftpdlib on a thread of its own, FTPS wherever a certificate is named.

Owns the listening socket and the thread. What a client may do stands in `ftp_session`, what it can reach in
`dropfolder`. A port that is taken is told and tried again; uploads under way at a stop are kept for a resumption.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from cegid_daemon.model import SiteSpec, SiteUser
from cegid_daemon.sites.admission import Admission, Attempts
from cegid_daemon.sites.connections import ConnectionTable, bounds_here
from cegid_daemon.sites.dropfolder import DropFolder, Landed
from cegid_daemon.sites.ftp_data import Data, TlsData
from cegid_daemon.sites.ftp_login import Door
from cegid_daemon.sites.ftp_server import SiteServer
from cegid_daemon.sites.ftp_session import PlainSession, TlsSession
from cegid_daemon.sites.ftp_tls import TlsContexts
from cegid_daemon.sites.hosting import Hosted
from cegid_daemon.sites.upload import Uploads

_TURN = 0.25  # seconds between two looks whether to stop


class FtpSite(Hosted):
    """The site as a service of the daemon."""

    def __init__(self, spec: SiteSpec, uploads: Uploads, landed: Landed, *, clock: Callable[[], datetime]) -> None:
        super().__init__("FTPS site" if spec.certificate else "FTP site", spec)
        self._uploads = uploads
        self._landed = landed
        admission = Admission(self.name, spec.users, Attempts(spec.attempts, spec.lockout), clock)
        self._door = Door(admission)
        self._stop = threading.Event()
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._passwords: ThreadPoolExecutor | None = None

    def _listen(self) -> int:
        table = ConnectionTable(self.name, bounds_here(self.name, self.spec))
        passwords = ThreadPoolExecutor(1, "ftp-site-passwords")  # one comparison needs 32 MiB
        where = (self.spec.host, self.spec.port)
        server = SiteServer(where, self._session(passwords), table, self.name, self._door.kept_out)
        self._server, self._passwords = server, passwords
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, args=(server,), name="ftp-site")
        self._thread.start()
        return int(server.address[1])

    def _serve(self, server: Any) -> None:
        due: float | None = None  # seconds until something of the site's own is to be done
        try:
            while not self._stop.is_set():
                due = server.ioloop.loop(_TURN if due is None else min(_TURN, due), blocking=False)
        finally:
            server.close_all()

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and self._server.accepting

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        if self._passwords is not None:
            self._passwords.shutdown(cancel_futures=True)
        self._passwords = None

    def _folder(self, user: SiteUser) -> DropFolder:
        return DropFolder(user.folder, self._uploads, self._landed, max_size=self.spec.max_size)

    def _session(self, passwords: ThreadPoolExecutor) -> type:
        spec, idle = self.spec, int(self.spec.idle.total_seconds())
        kind, data = (TlsSession, TlsData) if spec.certificate else (PlainSession, Data)
        attributes: dict[str, Any] = {
            "authorizer": self._door,
            "folders": staticmethod(self._folder),
            "passwords": passwords,
            "login_seconds": spec.login.total_seconds(),
            "max_login_attempts": spec.attempts,
            "timeout": idle,
            "dtp_handler": type("SiteData", (data,), {"timeout": idle, "grace": spec.grace.total_seconds()}),
            "masquerade_address": spec.public_address or None,
        }
        if spec.passive_ports:
            attributes["passive_ports"] = range(spec.passive_ports[0], spec.passive_ports[1] + 1)
        if spec.certificate:
            attributes |= {
                "contexts": TlsContexts(spec.certificate, spec.key), "session_reuse": spec.tls_session_reuse
            }  # fmt: skip
        return type("SiteSession", (kind,), attributes)
