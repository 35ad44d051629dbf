"""The console as a service of the daemon: its listeners, and what pages stand on.

The pages have one listener; probes have another where one is configured, with a reader of the journal of their own, so
that no crowd and no slow page is ever in front of them.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import replace

from cegid_daemon.bootstrap import Crew, Installation
from cegid_daemon.config import Config, ConsoleSpec
from cegid_daemon.console.address import Address
from cegid_daemon.console.app import application, probes
from cegid_daemon.console.filepages import Places
from cegid_daemon.console.forwarding import Proxies
from cegid_daemon.console.ground import Ground, Readers
from cegid_daemon.console.listener import Bounds, Listener
from cegid_daemon.console.pairing import Tracer
from cegid_daemon.console.sessions import LoginLimit, Sessions
from cegid_daemon.console.uploads import sweep
from cegid_daemon.daemon import Daemon

_MOST_CONNECTIONS = 512  # of the console, where so many descriptors are its share
_MOST_PROBES = 32
_SWEEP = 3600.0  # seconds that a preview of an import waits to be confirmed


class ConsoleService:
    """Serves the console."""

    name = "console"

    def __init__(
        self, installation: Installation, config: Config, crew: Crew, daemon: Daemon, sessions: Sessions,
        limit: LoginLimit,
    ) -> None:  # fmt: skip
        spec = config.console
        address = Address.of(spec.listen)
        path = installation.journal.connection.path
        self._readers = [Readers(path)]
        self._tracer = Tracer(path, config.state / "spool" / "console")
        self._spool = config.state / "spool"
        self._sweep_at = 0.0
        self._places = Places(config.endpoints)
        names = {route.name: source.name for source in crew.sources for route in source.routes}
        ground = Ground(
            config, installation.journal, installation.clock, lambda route: daemon.wake(names.get(route, "")),
            daemon.well, self._readers[0], crew.alarm.test if crew.alarm else None,
        )  # fmt: skip
        app = application(ground, address, sessions, limit, self._tracer, self._places)
        bounds = Bounds.of("console", _MOST_CONNECTIONS)
        trusts = Proxies(spec.trusted_proxies).trusts
        self._listeners = [Listener("console", address, app, bounds, tls=_tls(spec), trusts=trusts)]
        if spec.probes:
            self._readers.append(Readers(path))
            own = Address.of(spec.probes)
            app = probes(replace(ground, readers=self._readers[1]), own, sessions, limit)
            self._listeners.append(Listener("probes", own, app, Bounds.of("probes", _MOST_PROBES)))

    def start(self) -> None:
        """Begins to listen."""
        for one in self._listeners:
            one.start()

    def stop(self) -> None:
        """Ends; requests under way have a few seconds, in which probes are still answered."""
        self._listeners[0].ask_to_stop()
        self._tracer.stop()
        for one in self._listeners:
            one.stop()
        self._tracer.stop()
        self._places.close()
        sweep(self._spool, 0)
        for readers in self._readers:
            readers.close()

    def tend(self) -> None:
        """Starts a server that died, or could not listen."""
        self._tracer.tend()
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP
            sweep(self._spool, _SWEEP)
        for one in self._listeners:
            one.tend()


def _tls(spec: ConsoleSpec) -> Callable[[], ssl.SSLContext] | None:
    """What makes the TLS of the console at each start of its listener; None without a certificate."""
    if spec.certificate is None:
        return None
    certificate, key = spec.certificate, spec.key

    def made() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(certificate, key)
        return context

    return made
