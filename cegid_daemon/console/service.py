"""The console's server as a service of the daemon: a thread with an event loop, a listening socket, a few readers.

A port that is taken is told and tried again; the messages go on all the same.
"""

from __future__ import annotations

import logging
import socket
import threading
import time

import uvicorn

from cegid_daemon.bootstrap import Crew, Installation
from cegid_daemon.config import Config
from cegid_daemon.console.address import Address
from cegid_daemon.console.app import application
from cegid_daemon.console.filepages import Places
from cegid_daemon.console.ground import Ground, Readers
from cegid_daemon.console.importpages import sweep
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.patience import PatientProtocol
from cegid_daemon.console.sessions import LoginLimit, Sessions
from cegid_daemon.daemon import Daemon

log = logging.getLogger(__name__)

_AGAIN = 10.0  # seconds until a port that was taken is tried again
_DRAIN = 3  # seconds that open requests have at the end
_JOIN = 10.0
_SWEEP = 3600.0  # seconds that a preview of an import waits to be confirmed


class ConsoleService:
    """Serves the console."""

    name = "console"

    def __init__(
        self, installation: Installation, config: Config, crew: Crew, daemon: Daemon, sessions: Sessions,
        limit: LoginLimit,
    ) -> None:  # fmt: skip
        self.address = Address.of(config.console.listen)
        path = installation.journal.connection.path
        self._readers = Readers(path)
        self._tracer = Tracer(path, config.state / "spool" / "console")
        self._state = config.state
        self._sweep_at = 0.0
        self._places = Places(config.endpoints)
        names = {route.name: source.name for source in crew.sources for route in source.routes}
        ground = Ground(
            config, installation.journal, installation.clock, lambda route: daemon.wake(names.get(route, "")),
            daemon.well, self._readers, crew.alarm.test if crew.alarm else None,
        )  # fmt: skip
        self._app = application(ground, self.address, sessions, limit, self._tracer, self._places)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._try_at = 0.0

    def start(self) -> None:
        """Begins to listen."""
        try:
            opened = _listen(self.address)
        except OSError as error:
            log.warning("The console cannot listen on %s: %s. It is tried again every %d s; messages go on.",
                        self.address.url, error.strerror or error, _AGAIN)  # fmt: skip
            self._try_at = time.monotonic() + _AGAIN
            return
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app, log_config=None, access_log=False, lifespan="off", ws="none", http=PatientProtocol,
                loop="asyncio", proxy_headers=False, server_header=False, date_header=True, backlog=64,
                limit_concurrency=250,
                timeout_keep_alive=15, timeout_graceful_shutdown=_DRAIN, h11_max_incomplete_event_size=32 << 10,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._serve, args=(self._server, opened), name="console", daemon=True)
        self._thread.start()
        log.info("Console: %s", self.address.url)

    def _serve(self, server: uvicorn.Server, opened: socket.socket) -> None:
        try:
            server.run(sockets=[opened])
        except Exception:
            log.exception("The console ended in a way nobody foresaw; it is started again")
        finally:
            opened.close()

    def stop(self) -> None:
        """Ends; requests under way have a few seconds."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._tracer.stop()
            self._thread.join(_JOIN)
        self._server = self._thread = None
        self._try_at = float("inf")
        self._tracer.stop()
        self._places.close()
        sweep(self._state, 0)
        self._readers.close()

    def tend(self) -> None:
        """Starts a server that died, or could not listen."""
        self._tracer.tend()
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP
            sweep(self._state, _SWEEP)
        if self._thread is not None and not self._thread.is_alive():
            self._server = self._thread = None
            self._try_at = time.monotonic() + _AGAIN
        if self._thread is None and time.monotonic() >= self._try_at:
            self.start()


def _listen(address: Address) -> socket.socket:
    """A socket that listens. Raises OSError."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    opened = socket.socket(found[0], socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(found[4])
    except BaseException:
        opened.close()
        raise
    return opened
