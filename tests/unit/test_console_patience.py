"""Slow clients of the console: what they do not send or do not take ends their connection, and only theirs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl

from cegid_daemon.console import patience
from cegid_daemon.console.patience import PatientProtocol

WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Answers after a while, or without end."""

    def __init__(self, pieces: int = 1, seconds: float = 0.0) -> None:
        self.pieces, self.seconds = pieces, seconds
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(self.seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with suppress(asyncio.CancelledError):
            for _ in range(self.pieces):
                await send({"type": "http.response.body", "body": b"x" * (1 << 16), "more_body": True})
                if self.pieces > 1:
                    await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self.ended.set()


@asynccontextmanager
async def served(app: App) -> AsyncIterator[int]:
    opened = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="none", http=PatientProtocol, loop="asyncio")
    )
    serving = asyncio.create_task(server._serve([opened]))
    try:
        yield opened.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        opened.close()


def run(app: Callable[[], App], visit: Callable[[App, int], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        made = app()
        async with asyncio.timeout(20), served(made) as port:
            await visit(made, port)

    asyncio.run(whole())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", WHOLE[:-2]], ids=["nothing", "a word", "no end"])
def test_who_sends_no_whole_request_is_left(monkeypatch, sent):
    monkeypatch.setattr(patience, "HEAD", 0.05)

    async def visit(app: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    run(App, visit)


def test_who_sends_another_request_half_is_left_too(monkeypatch):
    monkeypatch.setattr(patience, "HEAD", 0.05)

    async def visit(app: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(WHOLE)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await app.ended.wait()
        writer.write(b"GET / HT")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    run(App, visit)


def test_an_answer_may_take_longer_than_a_request(monkeypatch):
    monkeypatch.setattr(patience, "HEAD", 0.05)

    async def visit(app: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(WHOLE)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()

    run(lambda: App(seconds=0.3), visit)


def test_who_takes_nothing_of_an_answer_holds_nothing_up(monkeypatch):
    monkeypatch.setattr(patience, "TAKING", 0.05)

    async def visit(app: App, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(WHOLE)
        await app.ended.wait()
        writer.close()

    run(lambda: App(pieces=2_000), visit)


class Transport:
    """A line whose answer is taken by and by."""

    def __init__(self, *left: int) -> None:
        self.left = list(left)
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left.pop(0)

    def abort(self) -> None:
        self.aborted = True


class Loop:
    """Keeps what is due, and does it when told to."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, seconds: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        self.due.append(what)
        return cast(asyncio.TimerHandle, SimpleNamespace(cancel=lambda: None))


def test_a_slow_line_that_takes_some_of_an_answer_is_borne_with():
    protocol = PatientProtocol.__new__(PatientProtocol)
    transport, loop = Transport(900, 600, 599, 599), Loop()
    protocol.transport, protocol.loop = cast(asyncio.Transport, transport), cast(asyncio.AbstractEventLoop, loop)
    protocol.flow = cast(FlowControl, SimpleNamespace(pause_writing=lambda: None))
    protocol.pause_writing()
    for gone in (False, False, True):
        loop.due.pop()()
        assert transport.aborted is gone
