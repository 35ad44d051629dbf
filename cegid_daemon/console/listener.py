"""A listening socket with a thread and an event loop of its own, served by uvicorn within bounds.

Owns accepting: who is let in, who gives way for it, and what happens when descriptors run out. A port that is taken is
logged and tried again; a thread that died is started again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from cegid_daemon import descriptors
from cegid_daemon.addresses import counted_as
from cegid_daemon.console.address import Address
from cegid_daemon.console.crowd import Crowd, Stage
from cegid_daemon.console.patience import PatientProtocol

log = logging.getLogger(__name__)

_RETRY_SECONDS = 10.0  # until a port that was taken is tried again
_DRAIN_SECONDS = 2.0  # that open requests have at the end
_CUT_SECONDS = 3  # after which pages that still compute are cut
_JOIN_SECONDS = 10.0
_HANDSHAKE_SECONDS = 10.0  # that a client has for TLS
_PAUSE_SECONDS = 1.0  # in which nobody is accepted after descriptors ran out
_REMIND_SECONDS = 600.0  # between two log lines about that
_SELDOM_SECONDS = 60.0
_BURST = 16  # connections accepted in a turn of the loop
_BACKLOG = 4096  # what the kernel drops comes again a second later; what it keeps is bounded as it is accepted
_EXHAUSTED = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Bounds:
    """How many connections a listener has at most: in all, and of one address."""

    most: int
    most_of_address: int

    @classmethod
    def of(cls, listener: str, highest: int) -> Bounds:
        """Within the listener's share of the descriptors; some of them are for the files it opens."""
        share = descriptors.share(listener)
        most = max(2, min(highest, share - min(2 * _BURST, share // 2)))
        return cls(most, max(1, most * 3 // 4))


class Listener:
    """One address that is listened on. `trusts` says which peers are our own proxies; they have no such bound."""

    def __init__(
        self, name: str, address: Address, app: ASGIApp, bounds: Bounds, *,
        tls: Callable[[], ssl.SSLContext] | None = None, trusts: Callable[[str], bool] = lambda _host: False,
    ) -> None:  # fmt: skip
        self.name = name
        self.address = address
        self._app = app
        self._bounds = bounds
        self._tls = tls
        self._trusts = trusts
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._try_at = 0.0

    def start(self) -> None:
        """Begins to listen; a taken port is logged, and tried again by `tend`."""
        url = self.address.url_of(tls=self._tls is not None)
        try:
            tls = self._tls() if self._tls else None
            opened = _listen(self.address)
        except OSError as error:
            log.warning("%s cannot listen on %s: %s. It is tried again every %d s; messages go on.",
                        _named(self.name), url, error.strerror or error, _RETRY_SECONDS)  # fmt: skip
            self._try_at = time.monotonic() + _RETRY_SECONDS
            return
        for rule in (_seldom, _is_trouble):
            logging.getLogger("uvicorn.error").addFilter(rule)
        config = uvicorn.Config(
            self._app, log_config=None, access_log=False, lifespan="off", ws="none", http=PatientProtocol,
            loop="asyncio", proxy_headers=False, server_header=False, date_header=True,
            timeout_keep_alive=15, timeout_graceful_shutdown=_CUT_SECONDS, h11_max_incomplete_event_size=32 << 10,
        )  # fmt: skip
        door = _Door(self.name, opened, Crowd(self._bounds.most, self._bounds.most_of_address), tls, self._trusts)
        self._server = _Server(config, door)
        self._thread = threading.Thread(
            target=self._serve, args=(self._server, opened), name=self.name, daemon=True
        )  # fmt: skip
        self._thread.start()
        log.info("%s: %s", _named(self.name), url)

    def _serve(self, server: _Server, opened: socket.socket) -> None:
        try:
            server.run(sockets=[])
        except Exception:
            log.exception("%s ended with an unexpected error; it is started again", _named(self.name))
        finally:
            opened.close()

    def ask_to_stop(self) -> None:
        """Lets requests under way come to their end; returns at once."""
        self._try_at = float("inf")
        if self._server is not None:
            self._server.should_exit = True

    def stop(self) -> None:
        """Ends; requests under way have a few seconds."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)
        self._server = self._thread = None

    def tend(self) -> None:
        """Starts a server that died, or could not listen."""
        if self._thread is not None and not self._thread.is_alive():
            self._server = self._thread = None
            self._try_at = time.monotonic() + _RETRY_SECONDS
        if self._thread is None and time.monotonic() >= self._try_at:
            self.start()


class _Seldom(logging.Filter):
    """Lets a warning of the HTTP server through once a minute: strangers cause as many as they like."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        if record.levelno != logging.WARNING:
            return True
        now = time.monotonic()
        if now < self._next.get(str(record.msg), 0.0):
            return False
        self._next[str(record.msg)] = now + _SELDOM_SECONDS
        return True


_seldom = _Seldom()


def _is_trouble(record: logging.LogRecord) -> bool:
    """Whether a line of the HTTP server is more than that the end of a listener cut somebody off."""
    kind = record.exc_info[0] if record.exc_info else None
    is_cut = kind is not None and issubclass(kind, asyncio.CancelledError)
    return not (is_cut or str(record.msg).startswith("Cancel %s running task"))


class _Server(uvicorn.Server):
    """uvicorn, with connections that come through our own door."""

    def __init__(self, config: uvicorn.Config, door: _Door) -> None:
        super().__init__(config)
        self._door = door

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens the door once the server is there."""
        await super().startup(sockets=sockets)
        self._door.open(self._protocol)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the door first. Strangers who are waited for go at once, all others when their time is over."""
        self._door.close()
        self._leave(Stage.SLOW)
        late = asyncio.get_running_loop().call_later(_DRAIN_SECONDS, self._leave)
        await super().shutdown(sockets=sockets)
        late.cancel()

    def _leave(self, *stages: Stage) -> None:
        """Ends the connections in one of these stages; without any, all. A form on its way ends as one cut off."""
        for one in list(self.server_state.connections):
            if isinstance(one, PatientProtocol) and (not stages or one.stage() in stages):
                one.transport.abort()

    def _protocol(self) -> PatientProtocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)


class _Door:
    """Accepts connections, within the bounds of a crowd."""

    def __init__(
        self, name: str, opened: socket.socket, crowd: Crowd, tls: ssl.SSLContext | None, trusts: Callable[[str], bool]
    ) -> None:
        self._name = name
        self._opened = opened
        self._crowd = crowd
        self._tls = tls
        self._trusts = trusts
        self._tasks: set[asyncio.Task[None]] = set()
        self._remind_at = 0.0

    def open(self, protocol: Callable[[], PatientProtocol]) -> None:
        """Begins to accept, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._loop.add_reader(self._opened, self._accept)

    def close(self) -> None:
        """Accepts nobody any more; handshakes under way are ended."""
        self._loop.remove_reader(self._opened)
        self._opened.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                accepted, peer = self._opened.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._receive(accepted, str(peer[0]))

    def _pause(self, error: OSError) -> None:
        """Nobody can be accepted, as when descriptors ran out: says so once, lets one go, and rests for a while."""
        if self._loop.time() >= self._remind_at:
            self._remind_at = self._loop.time() + _REMIND_SECONDS
            remedy = " Raise LimitNOFILE of the service if that happens again." if error.errno in _EXHAUSTED else ""
            log.warning("%s: no connection can be accepted: %s. It is tried again each second; messages go on.%s",
                        _named(self._name), error.strerror, remedy)  # fmt: skip
        self._crowd.end_one()
        self._loop.remove_reader(self._opened)
        self._loop.call_later(_PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._opened.fileno() >= 0:
            self._loop.add_reader(self._opened, self._accept)

    def _receive(self, accepted: socket.socket, host: str) -> None:
        address = counted_as(host)
        if not self._crowd.make_room(address, bounded=not self._trusts(host)):
            accepted.close()
            return
        guest = _Guest(address, accepted, self._protocol(), self._crowd)
        self._crowd.add(guest)
        guest.task = task = self._loop.create_task(guest.connect(self._loop, self._tls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(guest.connected)


class _Guest:
    """A connection, from its acceptance to its end."""

    task: asyncio.Task[None]

    def __init__(self, address: str, accepted: socket.socket, protocol: PatientProtocol, crowd: Crowd) -> None:
        self.address = address
        self._accepted = accepted
        self._protocol = protocol
        self._crowd = crowd
        protocol.when_answered = lambda: crowd.answered(self)
        protocol.when_lost = lambda: crowd.forget(self)

    async def connect(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None) -> None:
        """Hands the connection to its protocol, behind TLS where there is a context."""
        with suppress(OSError):  # no TLS, none in time, or gone already
            await loop.connect_accepted_socket(
                lambda: self._protocol, self._accepted, ssl=tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if tls else None,
            )  # fmt: skip

    def connected(self, _task: asyncio.Task[None]) -> None:
        """The protocol has it, or it has ended."""
        if not self._protocol.connected:
            self._accepted.close()
            self._crowd.forget(self)

    def stage(self) -> Stage:
        """What it is doing."""
        return self._protocol.stage()

    def leave(self) -> None:
        """Ends it at once."""
        if self._protocol.connected:
            self._protocol.transport.abort()
        else:
            self.task.cancel()


def _listen(address: Address) -> socket.socket:
    """A socket that listens. Raises OSError."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    opened = socket.socket(*found[:3])  # with its protocol, by which asyncio knows that TCP is not to wait for more
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(found[4])
        opened.listen(_BACKLOG)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _named(name: str) -> str:
    return "Console" if name == "console" else f"Console, {name}"
