"""Turns at something slow: few wait, and nobody for long."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import cast

import pytest
from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from cegid_daemon.console import machines, turns
from cegid_daemon.console.turns import Turns
from cegid_daemon.errors import Transient


def test_who_waits_too_long_is_told_to_come_again() -> None:
    busy = Turns("endpoint far", 0.01)
    with busy.lock, pytest.raises(Transient, match="endpoint far is busy"), busy.take():
        pass
    with busy.take():
        assert busy.lock.locked()


def test_only_a_few_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_MOST", 2)
    busy, told = Turns("it", 30.0), threading.Event()

    def wait() -> None:
        told.set()
        with busy.take():
            pass

    waiting = threading.Thread(target=wait)
    with busy.take():
        waiting.start()
        assert told.wait(10)
        while busy._room.acquire(blocking=False):  # until the other one waits
            busy._room.release()
        with pytest.raises(Transient, match="others wait"), busy.take():
            pass
    waiting.join(10)
    with busy.take():
        pass


def test_a_probe_is_answered_while_every_thread_of_the_pages_is_taken() -> None:
    async def whole() -> str:
        request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(probes=CapacityLimiter(1))))
        slow = [asyncio.create_task(run_in_threadpool(end.wait)) for _ in range(60)]
        while current_default_thread_limiter().available_tokens != 0:
            await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(machines._aside(cast(Request, request), lambda: "ready"), 20)
        finally:
            end.set()
            await asyncio.gather(*slow)

    end = threading.Event()
    assert asyncio.run(whole()) == "ready"
