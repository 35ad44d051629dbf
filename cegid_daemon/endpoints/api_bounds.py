"""What bounds requests to an API: the time that one may take as a whole, the lines that an answer is framed in, and how
many requests may be made in a time."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from collections import deque
from datetime import timedelta
from typing import Any

from cegid_daemon.endpoints.bounds import Beat, no_beat
from cegid_daemon.endpoints.remote import Pace
from cegid_daemon.errors import Place, Transient

_LINES = 10_000  # of one answer, in its heads, the frames of its chunks, and behind them
_BYTES_A_LINE = 16  # for each so many bytes of the body one line more: chunks may be small, not only framing


class EndlessFraming(http.client.HTTPException):
    """An answer has lines without end around its body, which cost time and bring nothing."""


class _Heard(io.RawIOBase):
    """What comes over a connection. Each piece beats: a slow answer, which has a deadline, is no standstill."""

    def __init__(self, inner: io.RawIOBase, beat: Beat) -> None:
        self._inner = inner
        self._beat = beat

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        size = self._inner.readinto(buffer)
        self._beat()
        return int(size) if size is not None else None

    def close(self) -> None:
        self._inner.close()
        super().close()


class _CountedLines(io.BufferedReader):
    """Counts the lines of an answer while they are read, and the bytes that they bring."""

    lines = 0
    size = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.lines += 1
        if self.lines > _LINES + self.size // _BYTES_A_LINE:
            raise EndlessFraming
        return super().readline(size)

    def read1(self, size: int = -1, /) -> bytes:
        piece = super().read1(size)
        self.size += len(piece)
        return piece


class BoundedResponse(http.client.HTTPResponse):
    """An answer whose lines are bounded: Python's own goes on through `100 Continue`, chunks of one byte and trailers
    as long as they come."""

    def __init__(self, sock: socket.socket, *args: Any, beat: Beat = no_beat, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = _CountedLines(_Heard(sock.makefile("rb", buffering=0), beat))


class ConnectionDeadline:
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
