"""A listener of the console: bounds as it accepts, descriptors that ran out, TLS, a port that is taken."""

from __future__ import annotations

import asyncio
import errno
import http.client
import logging
import os
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from cegid_daemon import descriptors
from cegid_daemon.config import ConsoleSpec
from cegid_daemon.console import listener
from cegid_daemon.console.address import Address
from cegid_daemon.console.listener import Bounds, Listener
from cegid_daemon.console.service import _tls
from tests.servers.places import HOST, free_port, make_certificates


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with its scheme."""
    await PlainTextResponse(scope["scheme"])(scope, receive, send)


@contextmanager
def served(most: int = 8, most_of_address: int = 6, **options: Any) -> Iterator[int]:
    port = free_port()
    made = Listener("console", Address(HOST, port), app, Bounds(most, most_of_address), **options)
    made.start()
    try:
        yield port
    finally:
        made.stop()


def get(port: int, tls: ssl.SSLContext | None = None, address: str = HOST) -> str:
    source = (address, 0)
    connection = (
        http.client.HTTPSConnection(HOST, port, timeout=5, source_address=source, context=tls)
        if tls
        else http.client.HTTPConnection(HOST, port, timeout=5, source_address=source)
    )
    with closing(connection) as asked:
        asked.request("GET", "/")
        return asked.getresponse().read().decode()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_silent_connections_give_way_as_they_are_accepted():
    with served() as port, ExitStack() as opened:
        before = open_files()
        for _ in range(60):
            opened.enter_context(socket.create_connection((HOST, port), timeout=5))
        assert get(port) == "http"
        assert get(port, address="127.0.0.2") == "http"
        assert open_files() - before - 60 <= 8 + listener._BURST


def test_silent_tls_handshakes_give_way_as_well(tmp_path):
    files = make_certificates(tmp_path)
    trusting = ssl.create_default_context(cafile=str(files.authority))
    with served(tls=_tls(ConsoleSpec(certificate=str(files.both)))) as port, ExitStack() as opened:
        before = open_files()
        for _ in range(60):
            opened.enter_context(socket.create_connection((HOST, port), timeout=5))
        assert get(port, trusting) == "https"
        assert open_files() - before - 60 <= 8 + listener._BURST


def _blind() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_old_tls_and_plain_http_are_refused_where_there_is_a_certificate(tmp_path):
    with served(tls=_tls(ConsoleSpec(certificate=str(make_certificates(tmp_path).both)))) as port:
        old = _blind()
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is old is the point
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(port, old)
        with pytest.raises((http.client.HTTPException, OSError)):
            get(port)
        new = _blind()
        new.minimum_version = new.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(port, new) == "https"


def test_a_handshake_that_does_not_come_to_its_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(listener, "_HANDSHAKE_SECONDS", 0.1)
    with (
        served(tls=_tls(ConsoleSpec(certificate=str(make_certificates(tmp_path).both)))) as port,
        socket.create_connection((HOST, port), timeout=5) as silent,
        suppress(ConnectionError),
    ):
        assert silent.recv(1) == b""


class Exhausted(socket.socket):
    """A listening socket of a process that has no descriptor left, for a while."""

    times = 3

    def accept(self) -> tuple[socket.socket, Any]:
        if Exhausted.times:
            Exhausted.times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_descriptors_that_ran_out_are_logged_once_and_waited_for(monkeypatch, caplog):
    def opened(address: Address) -> socket.socket:
        made = Exhausted()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.host, address.port))
        made.listen(16)
        made.setblocking(False)
        return made

    monkeypatch.setattr(listener, "_listen", opened)
    monkeypatch.setattr(listener, "_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(Exhausted, "times", 3)
    begun = time.monotonic()
    with served() as port:
        assert get(port) == "http"
    assert time.monotonic() - begun >= 0.3  # it paused each time
    assert [one.getMessage() for one in caplog.records if "can be accepted" in one.getMessage()] == [
        "Console: no connection can be accepted: Too many open files. It is tried again each second; messages go on. "
        "Raise LimitNOFILE of the service if that happens again."
    ]


def test_a_port_that_is_taken_is_told_and_tried_again(caplog):
    with socket.create_server((HOST, 0)) as taken:
        made = Listener("console", Address(HOST, taken.getsockname()[1]), app, Bounds(8, 6))
        made.start()
        assert "Console cannot listen on" in caplog.text
        made.tend()
    made._try_at = 0.0
    made.tend()
    try:
        assert get(made.address.port) == "http"
    finally:
        made.stop()


def test_a_certificate_that_is_gone_is_told_like_a_taken_port(tmp_path, caplog):
    made = Listener(
        "console", Address(HOST, free_port()), app, Bounds(8, 6), tls=_tls(ConsoleSpec(certificate=str(tmp_path / "x")))
    )
    with caplog.at_level(logging.WARNING):
        made.start()
    made.stop()
    assert "No such file" in caplog.text


@pytest.mark.parametrize("allowed", [64, 256, 1024, 1 << 20])
def test_the_bounds_stay_within_the_share(monkeypatch, allowed):
    monkeypatch.setattr(descriptors, "limit", lambda: allowed)
    bounds = Bounds.of("console", 512)
    assert 2 <= bounds.most <= min(512, descriptors.share("console"))
    assert 1 <= bounds.most_of_address < bounds.most


def test_broken_requests_of_strangers_fill_no_log(caplog):
    with served() as port, caplog.at_level(logging.WARNING):
        for _ in range(20):
            with socket.create_connection((HOST, port), timeout=5) as line:
                line.sendall(b"\0\r\n\r\n")
                assert line.recv(100).startswith(b"HTTP/1.1 400")
    assert caplog.text.count("Invalid HTTP request") <= 1


def test_an_answer_over_a_kept_connection_does_not_wait():
    with served() as port, closing(http.client.HTTPConnection(HOST, port, timeout=5)) as asked:
        begun = time.monotonic()
        for _ in range(50):
            asked.request("GET", "/")
            asked.getresponse().read()
        assert time.monotonic() - begun < 1.5  # 50 delayed acknowledgements are 2 seconds


async def taking(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes a form to its end; a path that begins with `/in` is of somebody who logged in."""
    if scope["path"].startswith("/in"):
        scope["state"]["logged_in"] = True
    while (message := await receive()).get("more_body"):
        pass
    await PlainTextResponse(message["type"])(scope, receive, send)


@pytest.mark.parametrize(("path", "longest"), [("/in", 2.7), ("/out", 1.0)])
def test_a_form_that_is_on_its_way_at_a_reload_is_cut_off_without_an_error_of_ours(caplog, path, longest):
    with ExitStack() as opened:
        made = Listener("console", Address(HOST, free_port()), taking, Bounds(8, 6))
        made.start()
        line = opened.enter_context(socket.create_connection((HOST, made.address.port), timeout=5))
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc".encode())
        time.sleep(0.2)
        begun = time.monotonic()
        made.stop()
        assert time.monotonic() - begun < longest
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


async def computing(scope: Scope, receive: Receive, send: Send) -> None:
    """Never comes to its end."""
    await asyncio.sleep(60)


def test_a_page_that_computes_too_long_at_a_reload_is_cut_off_without_an_error_of_ours(caplog, monkeypatch):
    monkeypatch.setattr(listener, "_DRAIN_SECONDS", 0.2)
    monkeypatch.setattr(listener, "_CUT_SECONDS", 0.5)
    with ExitStack() as opened:
        made = Listener("console", Address(HOST, free_port()), computing, Bounds(8, 6))
        made.start()
        line = opened.enter_context(socket.create_connection((HOST, made.address.port), timeout=5))
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        made.stop()
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("other", ["h2c", "websocket", "TLS/1.2"])
def test_an_offer_to_speak_something_else_is_passed_over_without_a_warning(caplog, other):
    with served() as port, closing(http.client.HTTPConnection(HOST, port, timeout=5)) as asked:
        asked.request("GET", "/", headers={"Connection": "Upgrade", "Upgrade": other})
        assert asked.getresponse().status == 200
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []
