"""Our own SFTP drop site: asyncssh on a thread of its own.

Owns the listening socket, the thread and its event loop, who is connected and since when they are idle. What a client
can reach stands in `dropfolder`. No shell, no command, no forwarding.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncssh

from cegid_daemon.model import SiteSpec
from cegid_daemon.sites.admission import Admission, Attempts
from cegid_daemon.sites.dropfolder import DropFolder, Landed
from cegid_daemon.sites.hosting import Hosted
from cegid_daemon.sites.sftp_files import Session
from cegid_daemon.sites.upload import Uploads

log = logging.getLogger(__name__)

_LOGIN = 30  # seconds a login may take
_KEEPALIVE = 15  # seconds between two questions whether an idle client is there
_PATIENCE = 10.0  # seconds to listen or to end


class SftpSite(Hosted):
    """The site as a service of the daemon."""

    def __init__(self, spec: SiteSpec, uploads: Uploads, landed: Landed, *, clock: Callable[[], datetime]) -> None:
        super().__init__("SFTP site", spec)
        self.uploads = uploads
        self.landed = landed
        self.admission = Admission(self.name, spec.users, Attempts(spec.attempts, spec.lockout), clock)
        self.guests: set[Guest] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    def _listen(self) -> int:
        listening: threading.Event = threading.Event()
        found: list[int | OSError] = []

        def run() -> None:
            asyncio.run(self._serve(found, listening))

        self._thread = threading.Thread(target=run, name="sftp-site")
        self._thread.start()
        listening.wait(_PATIENCE)
        result = found[0] if found else TimeoutError("it took too long")
        if isinstance(result, int):
            return result
        self._end()
        raise result

    async def _serve(self, found: list[int | OSError], listening: threading.Event) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        try:
            acceptor = await self._acceptor()
            found.append(acceptor.get_port())
        except (OSError, asyncssh.KeyImportError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))
            return
        finally:
            listening.set()
        await self._watch_over(self._ending)
        acceptor.close()
        await acceptor.wait_closed()
        for guest in list(self.guests):
            guest.connection.abort()
        await asyncio.gather(*(guest.connection.wait_closed() for guest in list(self.guests)))

    async def _acceptor(self) -> Any:
        return await asyncssh.listen(
            self.spec.host,
            self.spec.port,
            server_factory=lambda: Guest(self),
            server_host_keys=[self.spec.host_key],
            login_timeout=_LOGIN,
            keepalive_interval=_KEEPALIVE,
            server_version="cegid-daemon",
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
            gss_host=None,
        )

    async def _watch_over(self, ending: asyncio.Event) -> None:
        """Until the end, ends connections that have been idle for too long."""
        limit = self.spec.idle.total_seconds()
        while not ending.is_set():
            for guest in list(self.guests):
                if guest.idle_for() > limit:
                    guest.connection.disconnect(asyncssh.DISC_BY_APPLICATION, "idle for too long")
            try:
                await asyncio.wait_for(ending.wait(), min(5.0, limit / 2))
            except TimeoutError:
                continue

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _end(self) -> None:
        if self._thread is None:
            return
        if self._loop is not None and self._ending is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self._thread = None


class Guest(asyncssh.SSHServer):
    """One connection, from its first byte on."""

    connection: Any

    def __init__(self, site: SftpSite) -> None:
        self._site = site
        self._user = ""
        self._address = ""
        self._failed = 0
        self._active_at = time.monotonic()

    def idle_for(self) -> float:
        """Seconds since the last request."""
        return time.monotonic() - self._active_at

    def active(self) -> None:
        """A request came."""
        self._active_at = time.monotonic()

    def connection_made(self, conn: Any) -> None:
        """Ends the connection at once if the site is full or the address is kept out."""
        self.connection = conn
        self._address = str((conn.get_extra_info("peername") or ("",))[0])
        if len(self._site.guests) >= self._site.spec.connections or self._site.admission.kept_out(self._address):
            log.debug("%s: %s is not listened to.", self._site.name, self._address)
            conn.abort()
            return
        self._site.guests.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The guest has gone."""
        self._site.guests.discard(self)

    def begin_auth(self, username: str) -> bool:
        """Everybody has to prove who they are."""
        self._user = username
        user = self._site.admission.user(username)
        if user is not None and user.keys:
            self.connection.set_authorized_keys(asyncssh.import_authorized_keys("\n".join(user.keys)))
        return True

    def password_auth_supported(self) -> bool:
        """Where the user has a password, and where nobody has the name: who has one is not told."""
        user = self._site.admission.user(self._user)
        return user is None or user.password is not None

    async def validate_password(self, username: str, password: str) -> bool:
        """Compares without holding up the other connections."""
        loop = asyncio.get_running_loop()
        admission = self._site.admission
        admitted: bool = await loop.run_in_executor(None, admission.admits, username, password, self._address)
        if not admitted:
            self._failed += 1
            if self._failed >= self._site.spec.attempts:
                self.connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many failed logins")
        return admitted

    def session_requested(self) -> Session | bool:
        """SFTP within the user's folder."""
        user = self._site.admission.user(self._user)
        if user is None:
            return False
        site = self._site
        folder = DropFolder(user.folder, site.uploads, site.landed, max_size=site.spec.max_size)
        return Session(folder, self._user, self.active)
