"""A long transfer shows that it gets on: the watchdog would else take it for a standstill and end the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cegid_daemon.endpoints import open_api, open_endpoint
from cegid_daemon.endpoints.beating import BeatingApi
from cegid_daemon.endpoints.many import read_many
from cegid_daemon.endpoints.memory import CHUNK, MemoryEndpoint
from cegid_daemon.endpoints.protocol import Answer
from cegid_daemon.endpoints.remote import Pace
from cegid_daemon.endpoints.wrapping import Paced
from cegid_daemon.model import EndpointSpec


class Beats:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


@pytest.mark.parametrize("options", [{}, {"pace": "100/s"}])
def test_each_piece_that_passes_beats(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    memory = MemoryEndpoint("x")
    monkeypatch.setattr("cegid_daemon.endpoints._adapter", lambda *_: memory)
    beats = Beats()
    endpoint = open_endpoint(EndpointSpec("x", "memory:x", options), beats)
    endpoint.put("", "a", [b"x" * CHUNK] * 5)
    assert beats.since() == 5
    with endpoint.read("", "a") as reading:
        assert sum(map(len, reading)) == 5 * CHUNK
    assert beats.since() == 5
    assert len(list(read_many(endpoint, "", [*endpoint.list("")] * 3))) == 3
    assert beats.since() >= 3


def test_waiting_for_one_s_turn_is_no_standstill() -> None:
    times = iter([0.0, 0.0, 0.0, 0.0, 99.0, 99.0, 99.0])
    beats = Beats()
    paced = Paced(MemoryEndpoint("x"), Pace.of("1/min"), lambda: next(times), beat=beats)
    paced._closed.wait = lambda _seconds: True  # type: ignore[assignment,method-assign]
    paced.put("", "a", [b"x"])
    assert beats.since() == 0
    paced.put("", "b", [b"x"])
    assert beats.since() == 3


def test_requests_and_answers_of_an_api_beat() -> None:
    class Api:
        @contextmanager
        def post(self, _method: str, body: Any, _size: int, _uid: str) -> Iterator[Answer]:
            assert b"".join(body) == b"abc"
            yield Answer(200, iter([b"1", b"2"]))

    beats = Beats()
    api = BeatingApi(Api(), beats)  # type: ignore[arg-type]
    with api.post("StockUpdate", [b"a", b"b", b"c"], 3, "uid") as answer:
        assert b"".join(answer.body) == b"12"
    assert beats.since() == 5
    assert isinstance(open_api(EndpointSpec("x", "https://h.example/1.4"), beats), BeatingApi)
