"""Connections are lent to one at a time, kept, asked, replaced, bounded, and ended from anywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest

from cegid_daemon.endpoints import connections
from cegid_daemon.endpoints.connections import Connections, Logins
from cegid_daemon.endpoints.memory import MemoryEndpoint
from cegid_daemon.endpoints.protocol import Reading
from cegid_daemon.endpoints.remote import Pace, Server
from cegid_daemon.endpoints.wrapping import Paced, Resuming
from cegid_daemon.errors import Absent, SourceChanged, Transient
from cegid_daemon.model import EndpointSpec, Identity
from tests.servers.places import wait_until


class Line:
    """A connection that does as it is told."""

    def __init__(self) -> None:
        self.usable = True
        self.alive = True
        self.ended = False
        self.interrupted = threading.Event()

    def lives(self) -> bool:
        return self.alive

    def interrupt(self) -> None:
        self.interrupted.set()
        self.usable = False

    def end(self) -> None:
        self.ended = True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connections, "time", clock)
    return clock


def server(**options: object) -> Server:
    return Server.of(EndpointSpec("x", "ftp://u@h/", options))


def test_a_connection_is_kept_and_lent_again(clock: Clock) -> None:
    pool = Connections(server(), Line)
    with pool.lend() as first:
        pass
    with pool.lend() as second:
        assert second is first
        with pool.lend() as third:
            assert third is not first
    assert not first.ended


def test_a_broken_one_is_ended_and_replaced(clock: Clock) -> None:
    pool = Connections(server(), Line)
    with pool.lend() as first:
        first.usable = False
    assert first.ended
    with pool.lend() as second:
        assert second is not first


def test_an_error_of_the_borrower_s_passes_and_the_connection_is_kept(clock: Clock) -> None:
    pool = Connections(server(), Line)
    with pytest.raises(KeyError), pool.lend() as first:
        raise KeyError
    with pool.lend() as second:
        assert second is first


def test_an_idle_one_is_asked_and_a_dead_one_replaced(clock: Clock) -> None:
    pool = Connections(server(), Line)
    with pool.lend() as first:
        pass
    first.alive = False
    clock.now += connections.ASK_AFTER - 0.1
    with pool.lend() as again:
        assert again is first
    clock.now += connections.ASK_AFTER
    with pool.lend() as second:
        assert second is not first
    assert first.ended


def test_no_more_than_channels_and_who_waits_too_long_is_told() -> None:
    pool = Connections(server(channels=1, timeout=timedelta(milliseconds=50)), Line)
    with pool.lend(), pytest.raises(Transient, match="all 1 are in use"), pool.lend():
        pass
    with pool.lend():
        pass


def test_a_failed_opening_gives_its_place_back(clock: Clock) -> None:
    outcomes: list[Callable[[], Line]] = [Line, _fails]

    def connect() -> Line:
        return outcomes.pop()()

    pool = Connections(server(channels=1), connect)
    with pytest.raises(Transient), pool.lend():
        pass
    with pool.lend():
        pass


def _allowing(most: list[int]) -> Callable[[], Line]:
    """A server that has room for so many more."""

    def connect() -> Line:
        if not most[0]:
            raise Transient("too many connections")
        most[0] -= 1
        return Line()

    return connect


def test_where_the_server_allows_fewer_those_there_must_do() -> None:
    room = [1]
    pool = Connections(server(channels=4), _allowing(room))
    with ThreadPoolExecutor(1) as other:
        with pool.lend() as first:
            waiting = other.submit(pool._take)
            wait_until(lambda: pool._most == 1)
        second = waiting.result(5)
    assert second is first
    second.usable = False
    pool._give_back(second, pool._era)
    room[0] = 4
    with pool.lend(), pool.lend(), pool.lend(), pool.lend():
        pass  # with the last one gone it is tried anew


def test_who_waits_for_another_s_connection_is_told_of_a_closing() -> None:
    pool = Connections(server(channels=4), _allowing([1]))
    with ThreadPoolExecutor(1) as other, pool.lend():
        waiting = other.submit(pool._take)
        wait_until(lambda: pool._most == 1)
        pool.close()
        with pytest.raises(Transient, match="broken off"):
            waiting.result(5)


def _fails() -> Line:
    raise Transient("no")


def test_closing_ends_the_idle_and_interrupts_the_lent(clock: Clock) -> None:
    pool = Connections(server(), Line)
    with pool.lend() as lent, pool.lend() as idle:
        pass
    with pool.lend() as lent:
        pool.close()
        assert lent.interrupted.is_set()
        assert not lent.ended
    assert lent.ended
    assert idle.ended
    with pool.lend() as new:
        assert new not in (lent, idle)


def test_a_connection_that_was_lent_over_a_closing_is_not_kept(clock: Clock) -> None:
    pool = Connections(server(), Line)
    with pool.lend() as lent:
        pool.close()
        lent.usable = True
    assert lent.ended


def test_logins_keep_their_distance(clock: Clock) -> None:
    logins = Logins(server(reconnect=timedelta(minutes=5)))
    logins.begin()
    clock.now += 299
    with pytest.raises(Transient, match="1 s are left"):
        logins.begin()
    clock.now += 1
    logins.begin()
    Logins(server()).begin()


# wrappers


class Breaking(MemoryEndpoint):
    """Breaks each download after so many chunks of one byte."""

    def __init__(self, breaks: Sequence[int]) -> None:
        super().__init__()
        self.breaks = list(breaks)
        self.starts: list[int] = []

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[Reading]:
        self.starts.append(start)
        with super().read(folder, name, start) as reading:
            yield _Bits(reading, self.breaks.pop(0) if self.breaks else 1 << 30)


class _Bits:
    def __init__(self, reading: Reading, left: int) -> None:
        self.identity: Identity = reading.identity
        self._reading = reading
        self._left = left

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._reading:
            for at in range(len(chunk)):
                if at == self._left:
                    raise Transient("the line broke")
                yield chunk[at : at + 1]


def read_all(endpoint: Resuming) -> bytes:
    with endpoint.read("", "a") as reading:
        return b"".join(reading)


def test_a_broken_download_goes_on_where_it_was() -> None:
    inner = Breaking([3, 2])
    inner.lay("", "a", b"0123456789")
    assert read_all(Resuming(inner)) == b"0123456789"
    assert inner.starts == [0, 3, 5]


def test_a_download_that_gets_no_further_is_given_up() -> None:
    inner = Breaking([3, 0])
    inner.lay("", "a", b"0123456789")
    with pytest.raises(Transient, match="the line broke"):
        read_all(Resuming(inner))
    assert inner.starts == [0, 3]


def test_a_file_replaced_while_its_download_was_broken_has_changed() -> None:
    inner = Breaking([3])
    inner.lay("", "a", b"0123456789")
    with Resuming(inner).read("", "a") as reading:
        chunks = iter(reading)
        next(chunks)
        inner.lay("", "a", b"9876543210")
        with pytest.raises(SourceChanged):
            list(chunks)


def test_a_file_that_is_not_there_is_absent_at_once() -> None:
    with pytest.raises(Absent):
        read_all(Resuming(MemoryEndpoint()))


def test_a_pace_is_kept_over_any_span() -> None:
    now = [0.0]
    paced = Paced(MemoryEndpoint(), Pace(2, timedelta(seconds=0.05)), lambda: now[0])
    paced.put("", "a", [b"x"])
    paced.put("", "b", [b"x"])
    begun = threading.Event()
    done = threading.Event()

    def third() -> None:
        begun.set()
        paced.put("", "c", [b"x"])
        done.set()

    thread = threading.Thread(target=third)
    thread.start()
    begun.wait()
    assert not done.wait(0.12)
    now[0] = 0.05
    thread.join(5)
    assert done.is_set()


def test_closing_ends_the_wait_for_a_turn() -> None:
    paced = Paced(MemoryEndpoint("x"), Pace(1, timedelta(hours=1)))
    paced.put("", "a", [b"x"])
    errors: list[Transient] = []

    def second() -> None:
        try:
            paced.put("", "b", [b"x"])
        except Transient as error:
            errors.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    while not errors and thread.is_alive():
        paced.close()
    thread.join(5)
    assert "waited for its turn" in str(errors[0])
    assert paced.list("")[0].name == "a"


def test_closing_breaks_off_a_login_and_ends_what_comes_of_it_later() -> None:
    begun, answered = threading.Event(), threading.Event()
    line = Line()
    ended = threading.Event()
    line.end = ended.set  # type: ignore[method-assign]

    def connect() -> Line:
        begun.set()
        answered.wait(10)
        return line

    pool = Connections(server(), connect)
    closing = threading.Thread(target=lambda: begun.wait(10) and pool.close())
    closing.start()
    with pytest.raises(Transient, match="broken off"), pool.lend():
        pass
    closing.join()
    answered.set()
    assert ended.wait(10)
    with pool.lend() as again:
        assert again is line, "it may be used again"
