"""Connections to one remote endpoint: opened when needed, kept, lent to one caller at a time, replaced when dead.

Owns how many there are, how long one may lie idle before it is asked whether it still lives, and how often a new login
may be tried. Knows no protocol: a `Connection` does the talking. Safe for several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import EndpointError, Place, Transient

ASK_AFTER = 5.0  # seconds a connection may lie idle and still be trusted


class Connection(Protocol):
    """What the pool needs to know of a connection."""

    @property
    def usable(self) -> bool:
        """Whether it is between two calls and not broken."""

    def lives(self) -> bool:
        """Asks the other side; False instead of any error."""

    def interrupt(self) -> None:
        """From any thread: whoever uses it gets an error at once. Raises nothing."""

    def end(self) -> None:
        """Ends it; nobody uses it any more. Raises nothing."""


C = TypeVar("C", bound=Connection)


class Logins:
    """How often a login may be tried: CEGID asks some partners for minutes between two."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._last: float | None = None

    def begin(self) -> None:
        """Counts a login that begins now. Transient if it is not due: a login is refused, not waited for."""
        now = time.monotonic()
        with self._lock:
            due = now if self._last is None else self._last + self._server.reconnect.total_seconds()
            if due <= now:
                self._last = now
                return
        raise Transient(
            "not connected: the next login is not due yet",
            where=Place(file=self._server.where),
            why=f"`reconnect` asks for {self._server.reconnect} between two logins, {due - now:.0f} s are left",
            remedy="It is tried again by itself.",
        ).by_place()


class Connections(Generic[C]):
    """At most `server.channels` connections, each in one hand at a time.

    Where a further one cannot be had (the server allows fewer, or the next login is not due) those there are must do,
    until the last of them is gone.
    """

    def __init__(self, server: Server, connect: Callable[[], C]) -> None:
        self._server = server
        self._connect = connect
        self._changed = threading.Condition()
        self._idle: list[tuple[C, float]] = []  # the last used last
        self._lent: set[C] = set()
        self._opening = 0
        self._most = server.channels
        self._era = 0  # a connection opened before the last `close` is not kept

    @contextmanager
    def lend(self) -> Iterator[C]:
        """A live connection for one call or transfer. Transient if none is free before the endpoint's deadline."""
        connection = self._take()
        era = self._era
        try:
            yield connection
        finally:
            self._give_back(connection, era)

    def close(self) -> None:
        """Ends every connection, also those in use or being opened: their callers get Transient (or Unsure) at once."""
        with self._changed:
            self._era += 1
            ending = [connection for connection, _ in self._idle]
            self._idle.clear()
            in_use = list(self._lent)
            self._changed.notify_all()
        for connection in ending:
            connection.end()
        for connection in in_use:
            connection.interrupt()

    def _take(self) -> C:
        era = self._era
        while True:
            idle = self._idle_or_room(era)
            if idle is None:
                try:
                    return self._open()
                except EndpointError:
                    if era != self._era or not self._others_must_do():
                        raise
                    continue
            connection, since = idle
            if time.monotonic() - since < ASK_AFTER or connection.lives():
                return connection
            self._discard(connection)

    def _idle_or_room(self, era: int) -> tuple[C, float] | None:
        """An idle connection, now lent, or None where a new one may be opened, and is counted as opening."""
        deadline = time.monotonic() + self._server.seconds
        with self._changed:
            while not self._idle and len(self._lent) + self._opening >= self._most:
                if era != self._era:
                    raise self._closed_meanwhile()
                if not self._changed.wait(deadline - time.monotonic()):
                    raise Transient(
                        "no connection is free",
                        where=Place(file=self._server.where),
                        why=f"all {self._most} are in use",
                        remedy="It is tried again by itself; raise `channels` if the server allows more.",
                    ).by_place()
            if self._idle:
                idle = self._idle.pop()
                self._lent.add(idle[0])
                return idle
            self._opening += 1
            return None

    def _begin_anew(self) -> None:
        """With the last connection goes what is known of how many there may be. Under the lock."""
        if not self._lent and not self._idle:
            self._most = self._server.channels

    def _others_must_do(self) -> bool:
        """Whether there are others to wait for; no further one is tried before the last of them is gone."""
        with self._changed:
            self._most = len(self._lent) + len(self._idle)
            if not self._most:
                self._most = self._server.channels
                return False
            return True

    def _open(self) -> C:
        era = self._era
        opening = _Opening(self._connect, self._changed)
        with self._changed:
            self._changed.wait_for(lambda: opening.over or era != self._era)
            self._opening -= 1
            self._changed.notify_all()
            if opening.connection is not None:
                self._lent.add(opening.connection)
            opening.wanted = False  # if it is not over yet, nobody waits for it any more
        if opening.connection is not None:
            if era != self._era:
                opening.connection.interrupt()
            return opening.connection
        if opening.error is not None:
            raise opening.error
        raise self._closed_meanwhile()

    def _closed_meanwhile(self) -> Transient:
        return Transient(
            "not connected: the login was broken off", where=Place(file=self._server.where),
            why="the endpoint was closed meanwhile", remedy="It is tried again by itself.",
        ).by_place()  # fmt: skip

    def _give_back(self, connection: C, era: int) -> None:
        with self._changed:
            self._lent.discard(connection)
            keep = connection.usable and era == self._era
            if keep:
                self._idle.append((connection, time.monotonic()))
            self._begin_anew()
            self._changed.notify_all()
        if not keep:
            connection.end()

    def _discard(self, connection: C) -> None:
        with self._changed:
            self._lent.discard(connection)
            self._begin_anew()
            self._changed.notify_all()
        connection.end()


class _Opening(Generic[C]):
    """A login in a thread of its own: no library lets one be interrupted, and a stop must not wait for it."""

    def __init__(self, connect: Callable[[], C], changed: threading.Condition) -> None:
        self._connect = connect
        self._changed = changed
        self.connection: C | None = None
        self.error: BaseException | None = None
        self.over = False
        self.wanted = True
        threading.Thread(target=self._work, name="login", daemon=True).start()

    def _work(self) -> None:
        connection, error = None, None
        try:
            connection = self._connect()
        except BaseException as raised:  # it is raised where the login is waited for
            error = raised
        with self._changed:
            wanted = self.wanted
            if wanted:
                self.connection, self.error, self.over = connection, error, True
            self._changed.notify_all()
        if not wanted and connection is not None:
            connection.end()
