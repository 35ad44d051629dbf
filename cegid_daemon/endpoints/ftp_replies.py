"""The lines of an FTP server's replies, each bounded in length, all of one reply in number and time.

Reads from the socket itself, so that what came ahead of TLS can be seen; ftplib takes it for the file it expects.
"""

from __future__ import annotations

import socket

from cegid_daemon.endpoints.bounds import MAX_REPLY_BYTES, MAX_REPLY_LINES, Beat, Deadline, Excess, no_beat

_RECEIVE = 8192
_ENCODING = "latin-1"  # ftplib wants text: each byte as itself


class ReplyLines:
    """What comes over a control connection, line by line."""

    def __init__(self, sock: socket.socket, timeout_seconds: float, beat: Beat = no_beat) -> None:
        self._sock = sock
        self._seconds = timeout_seconds
        self._beat = beat
        self._held = b""
        self._closed = False
        self.begin()

    @property
    def has_unread(self) -> bool:
        """Whether bytes have come that nobody has read."""
        return bool(self._held)

    def begin(self) -> None:
        """A reply begins."""
        self._lines = self._bytes = 0
        self._deadline = Deadline.of_reply(self._seconds, self._beat)

    def readline(self, limit: int = 8193) -> str:
        """The next line with its end; without one where it has `limit` bytes, or where the connection ended."""
        while (end := self._held.find(b"\n")) < 0 and len(self._held) < limit:
            if self._closed or not (got := self._sock.recv(_RECEIVE)):
                break
            self._held += got
            self._deadline.check()
        size = min(end + 1 if end >= 0 else len(self._held), limit)
        line, self._held = self._held[:size], self._held[size:]
        self._count(size)
        return line.decode(_ENCODING)

    def close(self) -> None:
        """Nothing more is read; the socket is its owner's."""
        self._closed = True
        self._held = b""

    def _count(self, size: int) -> None:
        self._lines += 1
        self._bytes += size
        if self._lines > MAX_REPLY_LINES or self._bytes > MAX_REPLY_BYTES:
            raise Excess(f"a reply has more than {MAX_REPLY_LINES} lines or {MAX_REPLY_BYTES >> 10} KiB")
