"""The Aurora stand-in with faults: each request takes the next fault of the plan, if one is left."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cegid_daemon.sites.aurora_standin import AuroraStandIn, Received, Reply, StandInHandler

Fault = Callable[["FaultyHandler", Received], None]


class FaultyHandler(StandInHandler):
    site: FaultyApi

    def reply(self, request: Received) -> None:
        fault = self.site.next_fault()
        if fault is None:
            super().reply(request)
        else:
            fault(self, request)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class FaultyApi(AuroraStandIn):
    """`plan` holds a fault, or None for a good answer, for each request to come."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"token": "the-token", **settings})
        self.plan: list[Fault | None] = []
        self.released = threading.Event()

    def handler(self) -> type[StandInHandler]:
        return type("Handler", (FaultyHandler,), {"site": self})

    def next_fault(self) -> Fault | None:
        return self.plan.pop(0) if self.plan else None

    def stop(self) -> None:
        self.released.set()
        super().stop()

    def over_tls(self, certificate: Path, key: Path) -> FaultyApi:
        """Speaks TLS instead; to be called before `start`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        return self


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """This status and nothing else; the request is not applied."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, request: handler.write(Reply(code, body, named))


def body(content: bytes, **headers: str) -> Fault:
    return status(200, content, **headers)


def cut_before(handler: FaultyHandler, request: Received) -> None:
    """The connection breaks before the request is taken."""
    handler.cut()


def cut_after(handler: FaultyHandler, request: Received) -> None:
    """The request is taken, then the connection breaks without an answer."""
    handler.site.answer(request)
    handler.cut()


def cut_within(handler: FaultyHandler, request: Received) -> None:
    """The request is taken, and the connection breaks in the middle of the answer."""
    reply = handler.site.answer(request)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(reply.body)))
    handler.end_headers()
    handler.wfile.write(reply.body[: len(reply.body) // 2])
    handler.cut()


def silent(handler: FaultyHandler, request: Received) -> None:
    """The request is taken, and nothing is said until the API is stopped."""
    handler.site.answer(request)
    handler.site.released.wait(30)
    handler.close_connection = True


def trickling(handler: FaultyHandler, request: Received) -> None:
    """A byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.close_connection = True
    try:
        while not handler.site.released.wait(0.02):
            handler.wfile.write(b" ")
    except OSError:
        pass  # the caller has had enough


def wrapped(make: Callable[[bytes], Reply]) -> Fault:
    """The good answer, in the wrapping that `make` gives it."""
    return lambda handler, request: handler.write(make(handler.site.answer(request).body))
