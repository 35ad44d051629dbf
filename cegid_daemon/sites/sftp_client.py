"""One client of our own SFTP site: how it logs in, and its sessions.

Owns that a client learns nothing about who has an account: everybody is offered the same methods, and each answer
takes as long. No shell, no command, no forwarding.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import asyncssh

from cegid_daemon.sites.connections import Connection
from cegid_daemon.sites.dropfolder import DropFolder
from cegid_daemon.sites.sftp_files import Session

if TYPE_CHECKING:
    from cegid_daemon.sites.sftp_site import SftpSite

log = logging.getLogger(__name__)

MAX_SESSIONS = 10  # of one connection, as OpenSSH
MAX_SESSIONS_OF_SITE = 40  # or one for each client: what waits in a session may take 2 MiB


class Client(asyncssh.SSHServer):
    """One connection, from its first byte on."""

    connection: Any

    def __init__(self, site: SftpSite) -> None:
        self._site = site
        self._user = ""
        self._place: Connection | None = None
        self._failed = 0
        self._gave_password = False
        self._active_at = time.monotonic()
        self.sessions = 0

    def idle_for(self) -> float:
        """Seconds since the last request."""
        return time.monotonic() - self._active_at

    def active(self) -> None:
        """A request came."""
        self._active_at = time.monotonic()

    def connection_made(self, conn: Any) -> None:
        """The connection has a place already."""
        self.connection = conn
        self._place = conn.place
        conn.place.close = conn.abort
        self._site.clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client has gone."""
        self._site.clients.discard(self)
        if self._place is not None:
            self._site.table.remove(self._place)

    @property
    def _address(self) -> str:
        return str((self.connection.get_extra_info("peername") or ("",))[0])

    # -- the login --------------------------------------------------------------------------------------------------

    def begin_auth(self, username: str) -> bool:
        """Everybody has to prove who they are."""
        self._user = username
        keys = self._site.keys.get(username)
        if keys is not None:
            self.connection.set_authorized_keys(keys)
        return True

    def public_key_auth_supported(self) -> bool:
        """Offered to everybody, whoever has keys."""
        return True

    def password_auth_supported(self) -> bool:
        """Offered to everybody, whoever has a password."""
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        """Compares without holding up the other connections."""
        place = self.connection.place
        place.proves = True
        try:
            admitted = await self._site.compare(username, password, self._address)
        finally:
            place.proves = False
        self._gave_password = admitted
        if not admitted:
            self._failed += 1
            if self._failed >= self._site.spec.attempts:
                self.connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many failed logins")
        return admitted

    async def change_password(self, username: str, old_password: str, new_password: str) -> bool:  # noqa: ARG002
        """Passwords are changed in the configuration: as a failed login."""
        await self.validate_password(username, "")
        return False

    def auth_completed(self) -> None:
        """The client has logged in, if there is a place for it."""
        if self._place is None or not self._site.table.log_in(self._place):
            log.warning("%s: no place for %s from %s.", self._site.name, self._user, self._address)
            self.connection.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, "too many connections")
            return
        self.active()
        if not self._gave_password:
            self._site.admission.welcome(self._user, self._address)

    # -- sessions ---------------------------------------------------------------------------------------------------

    def session_requested(self) -> Session | bool:
        """SFTP within the user's folder."""
        user = self._site.admission.user(self._user)
        of_site = sum(client.sessions for client in self._site.clients)
        most = max(MAX_SESSIONS_OF_SITE, self._site.spec.connections)
        if user is None or self.sessions >= MAX_SESSIONS or of_site >= most:
            return False
        self.sessions += 1
        site = self._site
        folder = DropFolder(user.folder, site.uploads, site.landed, max_size=site.spec.max_size)
        return Session(folder, self._user, site.handles, self.active, self._session_over)

    def _session_over(self) -> None:
        self.sessions -= 1


async def wait_closed(clients: list[Client]) -> None:
    """Ends connections at once."""
    for client in clients:
        client.connection.abort()
    await asyncio.gather(*(client.connection.wait_closed() for client in clients))
