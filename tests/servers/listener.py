"""What the hostile servers of the tests share: a listener, a thread for each connection, and an end of all of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.servers.places import HOST


class Listener:
    """Serves each connection by `serve` in a thread of its own, once it is armed; `port` is where it listens."""

    def __init__(self, name: str, armed: threading.Event | None) -> None:
        self._name = name
        self._armed = armed  # until then whoever comes waits
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[Any] = [self._listener]
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins to accept."""
        self._start(self._accept)

    def serve(self, sock: socket.socket) -> None:
        """Talks to one client."""
        raise NotImplementedError

    def keep(self, one: Any) -> None:
        """Something with `close`, to be closed at the end."""
        self._open.append(one)

    def close(self) -> None:
        """Ends every connection and waits for the threads."""
        if self._armed is not None:
            self._armed.set()
        for one in self._open:
            if isinstance(one, socket.socket):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                one.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=f"shared server, {self._name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        if self._armed is not None:
            self._armed.wait()
        with suppress(OSError):
            while True:
                sock = self._listener.accept()[0]
                self.keep(sock)
                self._start(self.serve, sock)
