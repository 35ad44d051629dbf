"""An HTTP server that answers whatever a test wants, byte for byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from tests.servers.places import HOST

Answer = Callable[[], Iterable[bytes]]


class HostileApi:
    """Says the pieces of `answer` to every request; `requests` are the heads of those that came."""

    def __init__(self, answer: Answer, armed: threading.Event | None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._armed = armed
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, name="shared server, hostile API", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        if self._armed is not None:
            self._armed.wait()
        with suppress(OSError):
            while True:
                sock = self._listener.accept()[0]
                self._open.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
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

    def close(self) -> None:
        """Ends every connection and waits for the threads."""
        if self._armed is not None:
            self._armed.set()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                sock.close()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def hostile_api(answer: Answer, armed: threading.Event | None = None) -> Iterator[HostileApi]:
    """A server that says this to every request, once it is armed."""
    server = HostileApi(answer, armed)
    try:
        yield server
    finally:
        server.close()
