"""The listening sockets of our own FTP site: which connections are taken, and on which ports data may come.

Owns that a connection is taken or not before a session, or TLS, costs anything, and that one which could not be
accepted is no end of the site.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cegid_daemon.sites.connections import Connection, ConnectionTable
from cegid_daemon.sites.hosting import AcceptFaults
from cegid_daemon.sites.pyftpdlib_quietly import FTPServer, IOLoop, PassiveDTP

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 3.0  # a passive port that waited so long for its client gives way to another
_KEPT_OUT = b"421 Too many failed logins; try again later.\r\n"
_FULL = b"421 Too many connections; try again later.\r\n"


class SiteServer(FTPServer):  # type: ignore[misc]
    """Accepts control connections. Runs in the site's thread."""

    def __init__(
        self, where: tuple[str, int], session: type, table: ConnectionTable, name: str,
        kept_out: Callable[[str], bool],
    ) -> None:  # fmt: skip
        super().__init__(where, session, ioloop=IOLoop())
        self.max_cons = 0  # counted by the table
        self.table = table
        self.entering: Connection | None = None  # the place of the session that is being made
        self.passive_ports: dict[PassivePort, float] = {}  # that wait for their client, and since when
        self._name = name
        self._kept_out = kept_out
        self._faults = AcceptFaults(name)

    def handle_accept(self) -> None:
        """A connection waits."""
        try:
            sock, address = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as error:
            self.del_channel()
            self.ioloop.call_later(self._faults.pause(error, time.monotonic()), self._accept_again)
            return
        self.handle_accepted(sock, address)

    def _accept_again(self) -> None:
        if not self._closed:
            self.add_channel()

    def handle_accepted(self, sock: socket.socket, addr: tuple[str, int]) -> Any:
        """Takes a connection, or ends it with one line."""
        kept_out = self._kept_out(addr[0])
        place = None if kept_out else self.table.admit(addr[0], time.monotonic())
        if place is None:
            _dismiss(sock, _KEPT_OUT if kept_out else _FULL)
            return None
        self.entering = place
        handler = super().handle_accepted(sock, addr)
        self.entering = None
        if handler is None:
            self.table.remove(place)
        return handler


def _dismiss(sock: socket.socket, reply: bytes) -> None:
    with sock, suppress(OSError):
        sock.setblocking(False)
        sock.send(reply)
        sock.shutdown(socket.SHUT_WR)


class PassivePort(PassiveDTP):  # type: ignore[misc]
    """A port on which one data connection may come, from the client's own address."""

    _is_looking_for_family = False

    def __init__(self, cmd_channel: Any, extmode: bool = False) -> None:
        try:
            super().__init__(cmd_channel, extmode)
        except OSError:
            if self.socket is not None:
                super().close()
            raise
        cmd_channel.server.passive_ports[self] = time.monotonic()

    def bind_af_unspecified(self, addr: tuple[str, int]) -> Any:
        """Which family an address has: on any port."""
        self._is_looking_for_family = True
        try:
            return super().bind_af_unspecified(addr)
        finally:
            self._is_looking_for_family = False

    def bind(self, addr: tuple[str, int]) -> None:
        """Never a port outside of the configured ones: a firewall would not let the client through."""
        if addr[1] == 0 and self.cmd_channel.passive_ports is not None and not self._is_looking_for_family:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        super().bind(addr)

    def handle_accept(self) -> None:
        """A data connection waits."""
        try:
            sock, address = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError as error:
            log.warning("%s: a data connection could not be accepted: %s", self.cmd_channel.remote_ip, error)
            self.cmd_channel.respond("425 Cannot open a data connection; try again later.")
            self.close()
            return
        if address[0] != self.cmd_channel.remote_ip:
            sock.close()  # not a word to the client: it would take it for the answer to its command
            return
        self.handle_accepted(sock, address)

    def close(self) -> None:
        """No data connection comes here any more."""
        super().close()
        self.cmd_channel.server.passive_ports.pop(self, None)


def make_passive_port(cmd_channel: Any, *, extended: bool) -> PassivePort:
    """A port for a client; where all are in use, of one that did not come for its own. Raises OSError."""
    try:
        return PassivePort(cmd_channel, extended)
    except OSError as error:
        oldest = min(cmd_channel.server.passive_ports.items(), key=lambda one: one[1], default=None)
        if error.errno != errno.EADDRINUSE or oldest is None or time.monotonic() - oldest[1] < _CONNECT_SECONDS:
            raise
    oldest[0].close()
    return PassivePort(cmd_channel, extended)
