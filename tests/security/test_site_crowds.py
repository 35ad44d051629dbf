"""Crowds at the drop sites: connections that never log in, or never come to an end, keep no sender out."""

from __future__ import annotations

import io
import socket
import time
from contextlib import ExitStack, suppress

import paramiko
import pytest

from tests.security.conftest import LOGIN, OF_ADDRESS
from tests.security.service import DESCRIPTORS, SENDER, Service
from tests.security.site_clients import OPENDIR, ends, ftp, sftp, silent, ssh, string


@pytest.fixture(scope="module")
def shared_service(site_service: Service) -> Service:
    return site_service


def upload_by_ftp(service: Service, name: str) -> float:
    begun = time.monotonic()
    with ftp(service) as client:
        client.storbinary(f"STOR {name}", io.BytesIO(b"whole"))
    assert (service.shop.inbox.parent / name).read_bytes() == b"whole"
    return time.monotonic() - begun


def upload_by_sftp(service: Service, name: str) -> float:
    begun = time.monotonic()
    with ssh(service) as transport:
        client = paramiko.SFTPClient.from_transport(transport)
        assert client is not None
        with client.open(name, "wb") as file:
            file.write(b"whole")
    assert (service.shop.inbox.parent / name).read_bytes() == b"whole"
    return time.monotonic() - begun


def test_clients_that_never_log_in_keep_no_sender_out(service: Service) -> None:
    beginnings = {service.ftp: (b"", b"USER cegid\r\n", b"U"), service.sftp: (b"", b"SSH-2.0-x\r\n", b"S")}
    with ExitStack() as open_sockets:
        for number in range(60):
            for port, begun in beginnings.items():
                one = open_sockets.enter_context(silent(port))
                with suppress(OSError):
                    one.sendall(begun[number % 3])
        assert upload_by_ftp(service, "crowd.csv") < 5
        assert upload_by_sftp(service, "crowd.csv") < 5
    for site in ("FTP", "SFTP"):
        assert 1 <= service.daemon.said().count(f" {site} site: too many clients that do not log in") <= 3


def test_a_login_has_its_time_however_slowly_its_bytes_come(service: Service) -> None:
    slow = [(silent(service.ftp), b"USER cegid and more"), (silent(service.sftp), b"SSH-2.0-slow client")]
    begun = time.monotonic()
    for at in range(19):
        for one, text in slow:
            with suppress(OSError):
                one.send(text[at : at + 1])
        time.sleep(LOGIN / 15)
    for one, _ in slow:
        assert ends(one, 2), "the connection still stands"
        one.close()
    assert time.monotonic() - begun < LOGIN + 4


def test_who_gives_the_login_up_has_no_more_time_than_others(service: Service) -> None:
    with ftp(service) as stays, ftp(service) as client:
        assert client.sendcmd("REIN").startswith("2")
        assert client.sock is not None
        assert ends(client.sock, LOGIN + 2)
        time.sleep(0.2)
        assert stays.sendcmd("NOOP").startswith("200")


def test_one_address_leaves_places_for_others(service: Service) -> None:
    with ExitStack() as logged_in:
        for _ in range(OF_ADDRESS):
            logged_in.enter_context(ftp(service))
        sock = silent(service.ftp)
        assert sock.recv(100).startswith(b"421")
        sock.close()
        with silent(service.ftp, "127.0.0.2") as other:
            assert other.recv(100).startswith(b"220")


def test_open_files_of_one_user_leave_descriptors_for_deliveries(service: Service) -> None:
    with ExitStack() as sessions:
        refused = opened = 0
        for connection in range(6):
            transport = sessions.enter_context(ssh(service))
            client = paramiko.SFTPClient.from_transport(transport)
            assert client is not None
            for number in range(60):
                try:
                    sessions.enter_context(client.open(f"many{connection}-{number}", "wb"))
                    opened += 1
                except OSError:
                    refused += 1
                    break
        assert refused == 6
        assert opened <= 64
        assert service.descriptors() < DESCRIPTORS - 256
        assert service.deliver() < 15
        assert upload_by_ftp(service, "beside.csv") < 5


def test_sessions_and_listings_of_one_connection_are_bounded(service: Service) -> None:
    with ssh(service) as transport:
        opened = []
        with pytest.raises(paramiko.SSHException):
            for _ in range(30):
                opened.append(transport.open_session(timeout=5))
        assert len(opened) == 10
    with sftp(service) as session:
        answers = [session.ask(OPENDIR, string(b"/"))[0] for _ in range(100)]
        assert answers.count(102) == 16


def test_uploads_whose_data_connection_never_comes_use_up_nothing(service: Service) -> None:
    before = service.descriptors()
    with ftp(service) as client:
        client.sendcmd("TYPE I")
        for number in range(300):
            assert client.sendcmd(f"STOR never{number}").startswith("150")
        for _ in range(20):
            client.sendcmd("PASV")
        assert service.descriptors() < before + 12
    assert upload_by_ftp(service, "after.csv") < 5


def test_more_connections_than_descriptors_end_no_listener(service: Service) -> None:
    waiting: list[socket.socket] = []
    try:
        for number in range(1200):
            waiting.append(silent((service.ftp, service.sftp)[number % 2], f"127.0.1.{number % 200 + 1}"))
        assert upload_by_ftp(service, "flood.csv") < 10
        assert upload_by_sftp(service, "flood.csv") < 10
        assert service.descriptors() < DESCRIPTORS - 256
    finally:
        for one in waiting:
            one.close()
    assert service.daemon.said().count("could not be accepted") <= 2


def test_guesses_in_one_packet_are_compared_one_after_the_other(service: Service) -> None:
    with silent(service.ftp, "127.0.0.3") as guesser:
        guesser.sendall(b"USER cegid\r\nPASS guess\r\n" * 500)
        assert upload_by_ftp(service, "beside.csv") < 5
        assert ends(guesser, 5)
    assert SENDER not in service.daemon.said()
    with silent(service.ftp, "127.0.0.3") as guesser:
        assert guesser.recv(100).startswith(b"421")
