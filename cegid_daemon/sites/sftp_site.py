"""Our own SFTP drop site: asyncssh on a thread of its own.

Owns the listening sockets, the thread and its event loop, who is connected and since when they are idle. A connection
is taken or not before asyncssh hears of it. What a client can reach stands in `dropfolder`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import asyncssh

from cegid_daemon.model import SiteSpec
from cegid_daemon.sites.admission import Admission, Attempts
from cegid_daemon.sites.connections import Connection, ConnectionTable, bounds_here
from cegid_daemon.sites.dropfolder import Landed
from cegid_daemon.sites.handles import HandleBounds
from cegid_daemon.sites.hosting import AcceptFaults, Hosted
from cegid_daemon.sites.sftp_client import Client, wait_closed
from cegid_daemon.sites.sftp_connection import SiteConnection, options_of
from cegid_daemon.sites.upload import Uploads

log = logging.getLogger(__name__)

_START_SECONDS = 10.0  # to listen
_BACKLOG = 100


class SftpSite(Hosted):
    """The site as a service of the daemon."""

    def __init__(self, spec: SiteSpec, uploads: Uploads, landed: Landed, *, clock: Callable[[], datetime]) -> None:
        super().__init__("SFTP site", spec)
        self.uploads = uploads
        self.landed = landed
        self.admission = Admission(self.name, spec.users, Attempts(spec.attempts, spec.lockout), clock)
        self.keys = {
            user.name: asyncssh.import_authorized_keys("\n".join(user.keys)) for user in spec.users if user.keys
        }
        self.clients: set[Client] = set()
        self.table: ConnectionTable
        self.handles: HandleBounds
        self._faults = AcceptFaults(self.name)
        self._passwords: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    def _listen(self) -> int:
        bounds = bounds_here(self.name, self.spec)
        self.table, self.handles = ConnectionTable(self.name, bounds), HandleBounds(bounds.handles)
        listening: threading.Event = threading.Event()
        found: list[int | OSError] = []

        def run() -> None:
            asyncio.run(self._serve(found, listening))

        self._passwords = ThreadPoolExecutor(1, "sftp-site-passwords")  # one comparison needs 32 MiB
        self._thread = threading.Thread(target=run, name="sftp-site")
        self._thread.start()
        listening.wait(_START_SECONDS)
        result = found[0] if found else TimeoutError("it took too long")
        if isinstance(result, int):
            return result
        self._end()
        raise result

    async def _serve(self, found: list[int | OSError], listening: threading.Event) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        try:
            options = options_of(self.spec.host_key, self.spec.login.total_seconds(), lambda: Client(self))
            sockets = await _listening_sockets(self._loop, self.spec.host, self.spec.port)
            found.append(sockets[0].getsockname()[1])
        except (OSError, asyncssh.KeyImportError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))
            return
        finally:
            listening.set()
        accepting = [asyncio.create_task(self._accept(one, options)) for one in sockets]
        try:
            await self._watch_over(self._ending, accepting)
        finally:
            for task in accepting:
                task.cancel()
            await asyncio.gather(*accepting, return_exceptions=True)
            for one in sockets:
                one.close()
            await wait_closed(list(self.clients))

    async def _accept(self, listener: socket.socket, options: Any) -> None:
        """Takes connections, or ends them at once: no handshake costs anything before that is decided."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:
                await asyncio.sleep(self._faults.pause(error, time.monotonic()))
                continue
            address = str(peer[0])
            place = None if self.admission.kept_out(address) else self.table.admit(address, time.monotonic())
            if place is None:
                log.debug("%s: %s is not listened to.", self.name, address)
                sock.close()
                continue
            await self._begin(sock, options, place)

    async def _begin(self, sock: socket.socket, options: Any, place: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: SiteConnection(loop, options, place), sock)
        except OSError as error:
            log.debug("%s: a connection ended at once: %s", self.name, error)
            self.table.remove(place)
            sock.close()

    async def compare(self, user: str, password: str, address: str) -> bool:
        """Whether a password is right; one comparison at a time, as each takes memory."""
        if self._passwords is None:
            return False
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._passwords, self.admission.admits, user, password, address)

    async def _watch_over(self, ending: asyncio.Event, accepting: Sequence[asyncio.Task[None]]) -> None:
        """Until the end, ends connections that have been idle for too long.

        Where nobody is accepted any more, that is the end too: `tend` starts the site again.
        """
        limit = self.spec.idle.total_seconds()
        while not ending.is_set():
            for task in accepting:
                if task.done():
                    log.error("%s: no connection can be accepted any more.", self.name, exc_info=task.exception())
                    return
            for client in list(self.clients):
                if client.idle_for() > limit:
                    client.connection.disconnect(asyncssh.DISC_BY_APPLICATION, "idle for too long")
            try:
                await asyncio.wait_for(ending.wait(), min(5.0, limit / 2))
            except TimeoutError:
                continue

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _end(self) -> None:
        if self._thread is not None:
            if self._loop is not None and self._ending is not None and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()
        self._thread = None
        if self._passwords is not None:
            self._passwords.shutdown(cancel_futures=True)
        self._passwords = None


async def _listening_sockets(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[socket.socket]:
    """One for each address of the host, all on one port. Raises OSError."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((where[0], port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)))
            sock.listen(_BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
