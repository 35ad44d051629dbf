"""What bounds requests to an API: the time that one may take as a whole, and how many may be made in a time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from datetime import timedelta

from cegid_daemon.endpoints.remote import Pace
from cegid_daemon.errors import Place, Transient


class Deadline:
    """Cuts a connection that takes too long as a whole: a peer that sends a byte now and then is never silent."""

    def __init__(self, connection: socket.socket, limit: timedelta) -> None:
        self._connection = connection.dup()
        self._limit = limit
        self._over = threading.Event()
        self._timer = threading.Timer(limit.total_seconds(), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def why(self) -> str:
        """Why the connection ended, if it was this; else blank."""
        return f"it took longer than {self._limit} as a whole" if self._over.is_set() else ""

    def close(self) -> None:
        """The request is over."""
        self._timer.cancel()
        self._timer.join()
        self._connection.close()


class Turns:
    """At most so many requests in any span; whoever comes too early is told when to come again."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._lock = threading.Lock()
        self._times: deque[float] = deque()

    def take(self, place: Place) -> None:
        """Counts a request that begins now. Transient, with the pause, if it is not due."""
        if self._pace is None:
            return
        now, span = time.monotonic(), self._pace.span.total_seconds()
        with self._lock:
            while self._times and self._times[0] <= now - span:
                self._times.popleft()
            if len(self._times) < self._pace.files:
                self._times.append(now)
                return
            pause = timedelta(seconds=self._times[0] + span - now)
        raise Transient(
            "the next request is not due yet", where=place, why="`pace` says how many may be made",
            remedy="It is tried again by itself.",
        ).not_before(pause)  # fmt: skip
