"""A TCP proxy that delays, cuts or stalls a connection: the line between the daemon and a server on a bad day."""

from __future__ import annotations

import queue
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from tests.servers.places import HOST

_NEVER = 1 << 62


@dataclass
class Line:
    """How the line behaves now; tests change it while it runs."""

    port: int = 0
    delay: float = 0.0  # seconds each way
    cut_up: int = _NEVER  # bytes to the server after which all connections are cut
    cut_down: int = _NEVER  # bytes from the server after which all connections are cut
    stalled: bool = False  # nothing passes any more, and nobody is told
    passed_up: int = 0
    passed_down: int = 0
    connections: int = 0
    turns: int = 0  # how often the client spoke after the server did: what a long line makes slow
    client_speaks: bool = False
    seen: bytearray = field(default_factory=bytearray)  # what passed up
    sockets: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self) -> None:
        """Breaks every connection at once."""
        with self.lock:
            sockets, self.sockets = self.sockets, []
        for sock in sockets:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Lets everything pass from now on."""
        self.cut_up = self.cut_down = _NEVER
        self.stalled = False


@contextmanager
def proxy(target: int, host: str = HOST, beside: Sequence[int] = ()) -> Iterator[Line]:
    """A proxy to a port of this machine, on `host`.

    `beside`: further ports (FTP's data connections), each led to its own number; `host` is another than HOST then.
    """
    line = Line()
    threads: list[threading.Thread] = []
    with ExitStack() as open_listeners, selectors.DefaultSelector() as ready:
        waker, woken = socket.socketpair()
        ready.register(woken, selectors.EVENT_READ)
        for number, port in ((0, target), *((port, port) for port in beside)):
            listener = open_listeners.enter_context(socket.create_server((host, number)))
            line.port = line.port or int(listener.getsockname()[1])
            listener.setblocking(False)
            ready.register(listener, selectors.EVENT_READ, port)
        accepting = threading.Thread(target=_accept, args=(ready, line, threads))
        accepting.start()
        try:
            yield line
        finally:
            line.heal()
            waker.close()
            accepting.join()
            woken.close()
            line.cut()
            for thread in threads:
                thread.join()


def _accept(ready: selectors.BaseSelector, line: Line, threads: list[threading.Thread]) -> None:
    while True:
        for key, _ in ready.select():
            if key.data is None:
                return
            _connect(key.fileobj, key.data, line, threads)  # type: ignore[arg-type]


def _connect(listener: socket.socket, target: int, line: Line, threads: list[threading.Thread]) -> None:
    try:
        client, _address = listener.accept()
    except OSError:
        return
    client.setblocking(True)
    try:
        server = socket.create_connection((HOST, target))
    except OSError:
        client.close()
        return
    with line.lock:
        line.connections += 1
        line.sockets += [client, server]
    ends = [_End(client), _End(server)]
    for source, sink, up in ((client, server, True), (server, client, False)):
        source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threads.append(threading.Thread(target=_take, args=(source, pieces, line, up, ends)))
        threads.append(threading.Thread(target=_give, args=(sink, pieces, line, ends)))
    for thread in threads[-4:]:
        thread.start()


class _End:
    """A socket that four threads share; the last one closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._users = 4
        self._lock = threading.Lock()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._sock.close()


def _take(
    source: socket.socket, pieces: queue.SimpleQueue[tuple[float, bytes]], line: Line, up: bool, ends: list[_End]
) -> None:
    try:
        while piece := source.recv(1 << 16):
            left = (line.cut_up - line.passed_up) if up else (line.cut_down - line.passed_down)
            piece = piece[: max(left, 0)]
            line.turns += up and not line.client_speaks
            line.client_speaks = up
            if up:
                line.passed_up += len(piece)
                line.seen += piece
            else:
                line.passed_down += len(piece)
            while line.stalled:
                time.sleep(0.01)
            pieces.put((time.monotonic() + line.delay, piece))
            if left <= len(piece):
                line.cut()
                break
    except OSError:
        pass
    pieces.put((0.0, b""))
    for end in ends:
        end.leave()


def _give(sink: socket.socket, pieces: queue.SimpleQueue[tuple[float, bytes]], line: Line, ends: list[_End]) -> None:
    with suppress(OSError):
        while True:
            due, piece = pieces.get()
            if not piece:
                sink.shutdown(socket.SHUT_WR)
                break
            if (rest := due - time.monotonic()) > 0:
                time.sleep(rest)
            sink.sendall(piece)
    for end in ends:
        end.leave()
