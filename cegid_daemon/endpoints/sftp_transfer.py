"""One file going through an SFTP session, with many requests under way at once.

Owns the window: how much is asked for or sent ahead, so that neither a long line nor a fast one waits for round trips,
and memory stays bounded. Raises what the wire raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from cegid_daemon.endpoints.sftp_packets import FSYNC, READ, WRITE_NEW, Attributes, Code, Status
from cegid_daemon.endpoints.sftp_wire import Wire

AHEAD = 1 << 22  # bytes asked for or sent, and not answered yet
MOST_REQUESTS = 64  # some servers hang beyond


class Download:
    """A file opened for reading; `attributes` are of what was opened."""

    def __init__(self, wire: Wire, path: bytes, expected_size: int, start: int = 0) -> None:
        """Opens the file and asks for its first bytes before it knows more than `expected_size`."""
        self._wire = wire
        self._handle = wire.handle(wire.open(path, READ))
        self._asked: deque[tuple[int, int, int]] = deque()  # request, offset, length
        self._next = start
        attributes = wire.fstat(self._handle)
        self._ask(expected_size)
        self.attributes = wire.attributes(attributes)

    def chunks(self) -> Iterator[bytes]:
        """The bytes up to the size the file had when it was opened, or up to its end if that comes sooner."""
        size = self.attributes.size
        self._ask(size)
        while self._asked:
            number, offset, length = self._asked.popleft()
            body = self._wire.body(number, length)
            if not body:
                return
            if len(body) < length:  # servers may give less than was asked for
                rest = offset + len(body)
                self._asked.appendleft(
                    (self._wire.read(self._handle, rest, length - len(body)), rest, length - len(body))
                )
            yield body
            self._ask(size)

    def attributes_now(self) -> Attributes:
        """The attributes of the open file now."""
        return self._wire.attributes(self._wire.fstat(self._handle))

    def close(self) -> None:
        """Lets go of the file; what is still under way is dropped when it comes."""
        for number, _offset, _length in self._asked:
            self._wire.forget(number)
        self._asked.clear()
        self._wire.done(self._wire.close(self._handle))

    def _ask(self, size: int) -> None:
        ahead = sum(length for _number, _offset, length in self._asked)
        while self._next < size and ahead < AHEAD and len(self._asked) < MOST_REQUESTS:
            length = min(self._wire.read_length, size - self._next)
            self._asked.append((self._wire.read(self._handle, self._next, length), self._next, length))
            self._next += length
            ahead += length


class Upload:
    """A new file being written; `sent` bytes so far."""

    def __init__(self, wire: Wire, path: bytes) -> None:
        """Makes the file. What lies under its name is removed first, so that nothing is written through a link."""
        self._wire = wire
        self._unanswered: deque[tuple[int, int]] = deque()  # request, length
        self._ahead = 0
        self.sent = 0
        try:
            self._handle = wire.handle(wire.open(path, WRITE_NEW))
        except Status as status:
            if status.code not in {Code.FAILURE, Code.FILE_ALREADY_EXISTS}:
                raise
            wire.done(wire.remove(path))
            self._handle = wire.handle(wire.open(path, WRITE_NEW))

    def send(self, chunk: bytes) -> None:
        """Sends a chunk; waits only for what was sent long before it."""
        rest = memoryview(chunk)
        while rest:
            piece, rest = rest[: self._wire.write_length], rest[self._wire.write_length :]
            self._unanswered.append((self._wire.write(self._handle, self.sent, piece), len(piece)))
            self.sent += len(piece)
            self._ahead += len(piece)
            while self._ahead > AHEAD or len(self._unanswered) > MOST_REQUESTS:
                self._take_answer()

    def await_answers(self) -> None:
        """Waits until the server has taken all that was sent."""
        while self._unanswered:
            self._take_answer()

    def finish(self) -> Attributes:
        """Has the server sync where it can, reads the attributes back, closes."""
        synced = self._wire.extended(FSYNC, self._handle) if FSYNC in self._wire.extensions else None
        asked = self._wire.fstat(self._handle)
        closed = self._wire.close(self._handle)
        if synced is not None:
            self._wire.done(synced)
        attributes = self._wire.attributes(asked)
        self._wire.done(closed)
        return attributes

    def _take_answer(self) -> None:
        number, length = self._unanswered.popleft()
        self._wire.done(number)
        self._ahead -= length
