"""Which connections a site takes: places for clients that have logged in, and a waiting room for those that have not.

Decided when a connection is accepted, before a handshake costs anything. A crowd that does not log in never keeps out
a client that does: when the waiting room is full, one of the crowd gives way. Owns counts only, no sockets.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cegid_daemon import descriptors
from cegid_daemon.addresses import counted_as
from cegid_daemon.model import SiteSpec

log = logging.getLogger(__name__)

MAX_WAITING = 32  # connections of a site that have not logged in; as many as may log in, if that is more
LOG_SECONDS = 60.0  # between two log lines about the same thing
_OWN = 4  # descriptors of a site itself: its listener and its event loop
_OF_FTP_CLIENT = 5  # descriptors of one: two connections, an upload's file and folders
_OF_HANDLE = 3  # descriptors of one open file over SFTP, at most


@dataclass(frozen=True, slots=True)
class SiteBounds:
    """How much a site takes at the same time."""

    logged_in: int  # connections
    of_address: int  # connections that are logged in, of one address
    waiting: int  # connections that are not logged in yet
    waiting_of_address: int  # of these, connections of one address
    handles: int = 0  # files and listings that are open over SFTP
    limited: bool = False  # fewer connections than configured: the process has too few file descriptors


def bounds_of(spec: SiteSpec, share: int) -> SiteBounds:
    """What a site takes that may use so many file descriptors."""
    waiting = min(max(MAX_WAITING, spec.connections), max(2, share // 4))
    left = max(0, share - waiting - _OWN)
    fit = max(1, left // 2 if spec.kind == "sftp" else left // _OF_FTP_CLIENT)
    logged_in = min(spec.connections, fit)
    handles = max(1, (left - logged_in) // _OF_HANDLE) if spec.kind == "sftp" else 0
    of_address = min(spec.connections_per_address or logged_in, logged_in)
    waiting_of_address = min(waiting, max(waiting // 2, of_address))
    return SiteBounds(
        logged_in, of_address, waiting, waiting_of_address, handles, limited=logged_in < spec.connections
    )  # fmt: skip


def bounds_here(name: str, spec: SiteSpec) -> SiteBounds:
    """What a site takes in this process; logs when that is less than configured."""
    bounds = bounds_of(spec, descriptors.share(spec.kind))
    if bounds.limited:
        log.warning(
            "%s: of %d connections only %d are taken at a time: the process may open %d files. Raise LimitNOFILE.",
            name, spec.connections, bounds.logged_in, descriptors.limit(),
        )  # fmt: skip
    return bounds


@dataclass(slots=True, eq=False)
class Connection:
    """One connection of a site, from its acceptance on."""

    address: str
    since: float  # seconds of a monotonic clock
    close: Callable[[], None]
    spoke: bool = False  # something came from the client
    proves: bool = False  # its password is being compared
    logged_in: bool = False


class ConnectionTable:
    """The connections of one site. Used by the site's thread only; `now` is handed in."""

    def __init__(self, name: str, bounds: SiteBounds) -> None:
        self._name = name
        self._bounds = bounds
        self._connections: set[Connection] = set()
        self._gave_way = 0
        self._logged_at: float | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, address: str, now: float) -> Connection | None:
        """A place in the waiting room, for which another may have to give way; None if nobody could log in."""
        group = counted_as(address)
        if self._is_full(group):
            return None
        waiting = [one for one in self._connections if not one.logged_in]
        own = [one for one in waiting if one.address == group]
        if len(own) >= self._bounds.waiting_of_address:
            self._give_way(own, now)
        elif len(waiting) >= self._bounds.waiting:
            crowd = Counter(one.address for one in waiting).most_common(1)[0][0]
            self._give_way([one for one in waiting if one.address == crowd], now)
        connection = Connection(group, now, _nothing)
        self._connections.add(connection)
        return connection

    def log_in(self, connection: Connection) -> bool:
        """A client has proved who it is. False if there is no place for it."""
        if connection not in self._connections or (not connection.logged_in and self._is_full(connection.address)):
            return False
        connection.logged_in = True
        return True

    def log_out(self, connection: Connection, now: float) -> None:
        """A client gave its login up and stays: it waits again."""
        connection.logged_in = False
        connection.since = now

    def remove(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    def _is_full(self, group: str) -> bool:
        logged_in = [one for one in self._connections if one.logged_in]
        if len(logged_in) >= self._bounds.logged_in:
            return True
        return sum(one.address == group for one in logged_in) >= self._bounds.of_address

    def _give_way(self, crowd: list[Connection], now: float) -> None:
        """Silent connections first, those whose password is compared last, and among equals the oldest."""
        weakest = min(crowd, key=lambda one: (one.proves, one.spoke, one.since))
        self.remove(weakest)
        weakest.close()
        self._gave_way += 1
        if self._logged_at is None or now - self._logged_at >= LOG_SECONDS:
            log.warning(
                "%s: too many clients that do not log in: %d of them gave way to newer ones, the last from %s.",
                self._name, self._gave_way, weakest.address,
            )  # fmt: skip
            self._logged_at, self._gave_way = now, 0


def _nothing() -> None:
    """Before the connection is in the hands of its protocol there is nothing to close."""
