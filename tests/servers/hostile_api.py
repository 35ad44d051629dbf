"""An HTTP server that answers whatever a test wants, byte for byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from tests.servers.listener import Listener

Answer = Callable[[], Iterable[bytes]]


class HostileApi(Listener):
    """Says the pieces of `answer` to every request; `requests` are the heads of those that came."""

    def __init__(self, answer: Answer, armed: threading.Event | None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        super().__init__("hostile API", armed)
        self.start()

    def serve(self, sock: socket.socket) -> None:
        with suppress(OSError), sock:
            head = b""
            while b"\r\n\r\n" not in head and (got := sock.recv(65536)):
                head += got
            self.requests.append(head)
            sock.settimeout(0.2)
            with suppress(TimeoutError):
                while sock.recv(65536):  # the body, as far as it came
                    pass
            sock.settimeout(30)
            for piece in self._answer():
                sock.sendall(piece)


@contextmanager
def hostile_api(answer: Answer, armed: threading.Event | None = None) -> Iterator[HostileApi]:
    """A server that says this to every request, once it is armed."""
    server = HostileApi(answer, armed)
    try:
        yield server
    finally:
        server.close()
