"""Logins at our own sites while passwords are slow to compare: for whom they are, and whose time it is."""

from __future__ import annotations

import ftplib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import paramiko
import pytest

from cegid_daemon import passwords
from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import HOST

CROWD = 12
COMPARISON_SECONDS = 0.6
LOGIN_SECONDS = 2.0


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The passwords whose comparison began."""
    found: list[str] = []
    matches = passwords.matches

    def slow(password: str, text: str) -> bool:
        found.append(password)
        time.sleep(LOGIN_SECONDS + 0.5 if password == PASSWORD else COMPARISON_SECONDS)
        return matches(password, text)

    monkeypatch.setattr(passwords, "matches", slow)
    return found


def log_in(site: Running, kind: str) -> None:
    if kind == "ftp":
        with ftplib.FTP(timeout=20) as client:
            client.connect(HOST, site.port)
            client.login("cegid", PASSWORD)
    else:
        with paramiko.Transport((HOST, site.port)) as transport:
            transport.connect(username="cegid", password=PASSWORD)


def guess_by_ftp(site: Running, source: str) -> Callable[[], None]:
    sock = socket.create_connection((HOST, site.port), timeout=5, source_address=(source, 0))
    for command in (b"USER cegid\r\n", b"PASS guess\r\n"):
        sock.recv(1000)
        sock.sendall(command)
    return sock.close


def guess_by_sftp(site: Running, source: str) -> Callable[[], None]:
    transport = paramiko.Transport(socket.create_connection((HOST, site.port), 5, source_address=(source, 0)))
    transport.start_client(timeout=10)
    asked = paramiko.Message()
    for part in ("cegid", "ssh-connection", "password"):
        asked.add_string(part)
    asked.add_boolean(b=False)
    asked.add_string("guess")

    def leave() -> None:
        transport.close()
        transport.join(5)

    service = paramiko.Message()
    service.add_byte(b"\x05")
    service.add_string("ssh-userauth")
    request = paramiko.Message()
    request.add_byte(b"\x32")
    request.add_bytes(asked.asbytes())
    for message in (service, request):
        transport._send_user_message(message)
    return leave


@pytest.mark.parametrize("kind", ["ftp", "sftp"])
def test_nothing_is_compared_for_guessers_that_have_left(tmp_path: Path, compared: list[str], kind: str) -> None:
    guess = guess_by_ftp if kind == "ftp" else guess_by_sftp
    with dropsite(kind, tmp_path) as site:
        leave = [guess(site, f"127.0.2.{number + 1}") for number in range(CROWD)]
        time.sleep(COMPARISON_SECONDS / 2)
        assert compared
        for one in leave:
            with suppress(OSError):
                one()
        log_in(site, kind)
    assert len(compared) < CROWD


@pytest.mark.parametrize("kind", ["ftp", "sftp"])
def test_the_comparison_of_a_password_is_not_the_clients_time(tmp_path: Path, compared: list[str], kind: str) -> None:
    with dropsite(kind, tmp_path, login=timedelta(seconds=LOGIN_SECONDS)) as site:
        log_in(site, kind)
    assert compared == [PASSWORD]
