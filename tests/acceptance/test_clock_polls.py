"""The real daemon polls an API for orders while its clock is set: each order goes out once, and none is missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.acceptance.test_aurora import Shop, order
from tests.acceptance.test_clock_jumps import Clock
from tests.servers.aurora import FaultyApi


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with FaultyApi() as api:
        yield api


def wait_for_files(folder: Path, count: int) -> None:
    until = time.monotonic() + 30
    while len(list(folder.glob("*.asc"))) < count:
        assert time.monotonic() < until, f"{len(list(folder.glob('*.asc')))} of {count} orders"
        time.sleep(0.1)


def test_orders_are_polled_once_each_though_the_clock_jumps(
    api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, clock = Shop(tmp_path, api), Clock(tmp_path)
    for key, value in clock.environment().items():
        monkeypatch.setenv(key, value)
    orders = tmp_path / "outbox/orders"
    with shop.run() as process:
        for number, offset in enumerate(["+0", "-3h", "+2d", "-800d", "+0", "+20m", "-20m"], 1):
            clock.set(offset)
            time.sleep(0.5)
            api.orders.append(order(f"700{number}", ago=timedelta(0)))
            wait_for_files(orders, number)
        time.sleep(2)
        process.kill()
        process.wait()
    texts = [path.read_text("cp1252") for path in orders.glob("*.asc")]
    assert len(texts) == 7
    assert all(sum(f"700{number}" in text for text in texts) == 1 for number in range(1, 8))
