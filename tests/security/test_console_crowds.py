"""Crowds at the console: bounded as they are accepted, and never in front of others, of probes, or of deliveries."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from tests.integration.console_site import Browser
from tests.security.service import DESCRIPTORS, OPERATOR, Service, running
from tests.servers.places import HOST, free_port

ANOTHER = "127.0.0.2"  # an address of this machine that is not the crowd's
CORE = 256  # descriptors that no listener uses
FAST = 5.0  # seconds, on a machine that does other things as well


@pytest.fixture(scope="module")
def probes() -> int:
    """The port of the listener for probes."""
    return free_port()


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory, probes: int) -> Iterator[Service]:
    """One daemon, with a listener for probes."""
    folder = tmp_path_factory.mktemp("crowds") / "shop"
    with running(folder, console_keys=f'probes = "{HOST}:{probes}"') as started:
        yield started


@contextmanager
def crowd(port: int, size: int, sent: bytes = b"", address: str = HOST) -> Iterator[list[socket.socket]]:
    """Connections that send so much, and then nothing."""
    with ExitStack() as opened:
        lines = []
        for _ in range(size):
            line = opened.enter_context(socket.create_connection((HOST, port), timeout=5, source_address=(address, 0)))
            with suppress(OSError):  # it gave way already
                line.sendall(sent)
                lines.append(line)
        yield lines


def get(port: int, path: str, address: str = HOST) -> tuple[int, float]:
    """Status, and the seconds it took."""
    begun = time.monotonic()
    with closing(http.client.HTTPConnection(HOST, port, timeout=10, source_address=(address, 0))) as asked:
        asked.request("GET", path)
        response = asked.getresponse()
        response.read()
        return response.status, time.monotonic() - begun


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 999\r\n\r\nname=",
    ],
    ids=["silent", "slow heads", "slow bodies"],
)
def test_a_crowd_of_one_address_keeps_out_neither_others_nor_probes(service: Service, probes: int, sent: bytes) -> None:
    with crowd(service.console, 1100, sent):
        for address in (ANOTHER, HOST):
            status, seconds = get(service.console, "/login", address)
            assert status == 200
            assert seconds < FAST
        for path in ("/health/live", "/health/ready", "/metrics"):
            for port in (service.console, probes):
                status, seconds = get(port, path, ANOTHER)
                assert status == 200, path
                assert seconds < FAST
        assert service.descriptors() < DESCRIPTORS - CORE
        assert service.deliver() < 15


def test_a_crowd_at_the_probes_keeps_out_neither_the_console_nor_another_probe(service: Service, probes: int) -> None:
    with crowd(probes, 300):
        assert get(service.console, "/login")[0] == 200
        assert get(probes, "/health/live", ANOTHER)[0] == 200
        assert get(probes, "/health/live")[0] == 200


def test_the_listener_for_probes_answers_nothing_else_and_only_its_own_names(service: Service, probes: int) -> None:
    for path in ("/", "/login", "/log", "/static/console.css", "/buffers/import"):
        assert get(probes, path)[0] == 404
    with closing(http.client.HTTPConnection(HOST, probes, timeout=10)) as asked:
        asked.request("GET", "/health/live", headers={"Host": "evil.example"})
        answer = asked.getresponse()
        assert answer.status == 421
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_somebody_who_logged_in_does_not_give_way_to_those_who_did_not(service: Service) -> None:
    browser = Browser(service.console)
    browser.log_in("Ann", OPERATOR)
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with closing(http.client.HTTPConnection(HOST, service.console, timeout=10)) as kept:
        for _ in range(2):
            kept.request("GET", "/log", headers={"Cookie": cookies})
            answer = kept.getresponse()
            answer.read()
            assert answer.status == 200
            line = kept.sock
            with crowd(service.console, 400):
                time.sleep(0.2)
        assert kept.sock is line  # never closed, so never opened again


def test_thirty_operators_behind_one_address_keep_their_connections(service: Service) -> None:
    with ExitStack() as opened:
        lines = []
        for _ in range(180):
            line = opened.enter_context(closing(http.client.HTTPConnection(HOST, service.console, timeout=10)))
            line.connect()
            lines.append((line, line.sock))
        for line, first in lines:
            line.request("GET", "/health/live")
            answer = line.getresponse()
            answer.read()
            assert answer.status == 200
            assert line.sock is first


def test_a_reload_that_waits_for_a_form_is_hardly_noticed_at_the_probes(service: Service, probes: int) -> None:
    browser = Browser(service.console)
    browser.log_in("Ann", OPERATOR)
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    head = (
        f"POST /alerts HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Length: 999\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\ncsrf="
    )
    with crowd(service.console, 1, head.encode()):
        time.sleep(0.2)
        service.daemon.process.send_signal(signal.SIGHUP)
        until, refused = time.monotonic() + 4.0, 0
        while time.monotonic() < until:
            try:
                assert get(probes, "/health/live")[0] == 200
            except (OSError, http.client.HTTPException):
                refused += 1
            time.sleep(0.05)
    assert refused * 0.05 < 1.0  # what the form was waited for is 2 seconds
    service.daemon.wait_for(lambda: "Reloaded." in service.daemon.said(), "reloaded")
    assert "Cancel" not in service.daemon.said()
