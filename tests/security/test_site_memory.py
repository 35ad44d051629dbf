"""Heavy hands at the drop sites: what one client sends, or does not take, costs the daemon no memory and no time."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import paramiko
import pytest

from tests.security.service import Service
from tests.security.site_clients import (
    EXTENDED,
    FOR_READING,
    HANDLE,
    NAME,
    OPENDIR,
    READ,
    READDIR,
    STAT,
    STATUS,
    WRITE,
    Sftp,
    ends,
    flood,
    ftp,
    sftp,
    silent,
    ssh,
    string,
)

FILES = 8_000
MOST = 90_000_000  # bytes an attack may add while it goes on


@pytest.fixture(scope="module")
def shared_service(site_service: Service) -> Service:
    return site_service


@pytest.fixture(scope="module")
def crowded(shared_service: Service) -> Iterator[Path]:
    """A folder with very many files."""
    folder = shared_service.shop.inbox.parent / "crowded"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"file-with-a-rather-long-name-{number:06}.csv").touch()
    yield folder


def test_gaps_in_many_uploads_share_one_bound(service: Service) -> None:
    with ssh(service) as transport:
        session = Sftp(transport.open_session())
        statuses = []
        for number in range(10):
            handle = session.open(b"gap%d" % number)
            assert handle is not None
            for piece in range(60):
                statuses.append(session.write(handle, 1 + piece * 250_000, bytes(250_000)))
                if statuses[-1] != 0:
                    break
        assert service.added() < MOST
        assert statuses.count(0) * 250_000 <= 32 << 20
        assert session.write(session.open(b"fits") or b"", 0, b"x") == 0


def test_very_many_small_pieces_ahead_of_a_gap_cost_no_time(service: Service) -> None:
    with sftp(service) as session:
        handle = session.open(b"pieces")
        assert handle is not None
        begun = time.monotonic()
        for first in range(1, 31_000, 1000):
            bodies = [
                struct.pack(">BI", WRITE, at) + handle + struct.pack(">Q", at) + string(b"x")
                for at in range(first, first + 1000)
            ]
            session.channel.sendall(b"".join(map(string, bodies)))
            answers = [session.receive() for _ in bodies]
            assert all(kind == STATUS for kind, _ in answers)
        assert time.monotonic() - begun < 15


def test_a_read_is_answered_with_a_part_of_what_it_asks_for(service: Service) -> None:
    large = service.shop.inbox.parent / "large.bin"
    with large.open("wb") as file:
        file.truncate(3 << 30)
    with sftp(service) as session:
        handle = session.open(b"large.bin", FOR_READING)
        assert handle is not None
        for _ in range(20):
            kind, answer = session.ask(READ, handle + struct.pack(">QI", 0, 0xFFFFFFFF))
            assert kind == 103
            assert len(answer) < 300_000
        kind, _ = session.ask(READ, handle + struct.pack(">QI", (1 << 64) - 1, 100))
        assert kind == STATUS
    assert service.added() < MOST
    large.unlink()


@pytest.mark.parametrize("announced", [0xFFFFFFFF, 4 << 20, 0])
def test_a_packet_of_any_length_ends_a_session_at_most(service: Service, announced: int) -> None:
    with ssh(service) as transport:
        for _ in range(5):
            session = Sftp(transport.open_session())
            session.channel.sendall(struct.pack(">I", announced))
            flood(session.channel, bytes(32_000), 3 << 20, 0.2)
        assert service.added() < MOST


def test_answers_that_nobody_reads_are_not_made(service: Service) -> None:
    large = service.shop.inbox.parent / "answers.bin"
    large.write_bytes(bytes(1 << 20))
    with ExitStack() as sessions:
        for _ in range(2):
            transport = sessions.enter_context(ssh(service))
            for _ in range(3):
                session = Sftp(transport.open_session(window_size=1 << 15))
                handle = session.open(b"answers.bin", FOR_READING)
                assert handle is not None
                body = struct.pack(">BI", READ, 1) + handle + struct.pack(">QI", 0, 200_000)
                flood(session.channel, (struct.pack(">I", len(body)) + body) * 500, 3 << 20, 0.3)
        assert service.added() < MOST
        assert service.deliver() < 15


def test_replies_that_nobody_reads_are_not_made(service: Service) -> None:
    with ExitStack() as clients:
        for command in (b"HELP\r\n", b"STAT\r\n", b"FEAT\r\n", b"NOOP\r\n", b"\r\n", b"x" * 5000):
            sock = clients.enter_context(silent(service.ftp))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            flood(sock, command * (8000 // len(command)), 20 << 20, 0.3)
        assert service.added() < MOST
        assert service.deliver() < 15


def test_a_line_without_an_end_is_no_command(service: Service) -> None:
    with silent(service.ftp) as sock:
        sock.recv(100)
        flood(sock, b"x" * 65_536, 1 << 30, 1)
        assert ends(sock, 3)
    with ftp(service) as client:
        assert client.sock is not None
        client.sock.sendall(b"STAT " + b"a" * 1900 + b"\r\nSITE " + b"b" * 1900 + b"\r\nNOOP\r\n")
        replies = [client.getmultiline()[:3] for _ in range(3)]
        assert replies[2] == "200"
    assert service.added() < MOST


def test_large_listings_that_nobody_reads_are_not_kept(service: Service, crowded: Path) -> None:
    before, descriptors = service.growth(), service.descriptors()
    with ExitStack() as clients:
        for _ in range(4):
            client = clients.enter_context(ftp(service))
            for _ in range(2):
                data = clients.enter_context(client.transfercmd("MLSD crowded"))
                data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert client.sock is not None
            client.sock.sendall(b"STAT crowded\r\n" * 100)
        session = clients.enter_context(sftp(service))
        for _ in range(10):
            kind, handle = session.ask(OPENDIR, string(b"/crowded"))
            assert kind == HANDLE
            assert session.ask(READDIR, handle)[0] == 104
        assert service.growth() - before < 60_000_000
        assert service.descriptors() - descriptors < 60
        assert service.deliver() < 15


def test_listings_of_one_folder_that_are_begun_and_left_are_bounded_together(service: Service) -> None:
    folder = service.shop.inbox.parent / "long"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:0240}").touch()
    begun = service.resident_size()
    answers: list[int] = []
    with ssh(service) as transport:
        clients = [Sftp(transport.open_session()) for _ in range(6)]
        for client in clients:
            for _ in range(16):
                kind, answer = client.ask(OPENDIR, string(b"long"))
                if kind == HANDLE:
                    answers.append(client.ask(READDIR, answer)[0])
        held = service.resident_size() - begun
    assert answers.count(NAME) >= 10
    assert STATUS in answers
    assert held < MOST
    with ssh(service) as transport:
        assert Sftp(transport.open_session()).ask(OPENDIR, string(b"long"))[0] == HANDLE


def test_a_large_listing_is_whole(service: Service, crowded: Path) -> None:
    with ftp(service) as client:
        assert len(client.nlst("crowded")) == FILES
    with sftp(service) as session:
        _, handle = session.ask(OPENDIR, string(b"/crowded"))
        count = 0
        while (answer := session.ask(READDIR, handle))[0] == 104:
            count += int(struct.unpack(">I", answer[1][:4])[0])
        assert count == FILES


def test_requests_without_bound_are_not_offered(service: Service) -> None:
    with sftp(service) as session:
        handle = session.open(b"copied")
        assert handle is not None
        session.write(handle, 0, b"x" * 1000)
        body = handle + struct.pack(">QQ", 0, 0) + handle + struct.pack(">Q", 1000)
        kind, answer = session.ask(EXTENDED, string(b"copy-data") + body)
        assert (kind, answer[:4]) == (STATUS, struct.pack(">I", 8))
        kind, answer = session.ask(EXTENDED, string(b"limits@openssh.com"))
        assert struct.unpack(">QQQQ", answer[:32])[3] == 16
        assert session.ask(STAT, string(b"\xff" * 3000))[0] == STATUS


def test_answers_behind_a_key_exchange_that_never_ends_are_not_kept(service: Service) -> None:
    (service.shop.inbox.parent / "rekeyed.bin").write_bytes(bytes(1 << 20))
    with ssh(service) as transport:
        session = Sftp(transport.open_session(window_size=(1 << 31) - 1))
        handle = session.open(b"rekeyed.bin", FOR_READING)
        assert handle is not None
        transport._handler_table = {**transport._handler_table, 20: lambda _message: None}  # it stays begun
        transport._send_kex_init()
        body = struct.pack(">BI", READ, 1) + handle + struct.pack(">QI", 0, 200_000)
        for _ in range(20):
            message = paramiko.Message()
            message.add_byte(bytes([94]))
            message.add_int(session.channel.remote_chanid)
            message.add_string(string(body) * 100)
            with suppress(OSError, EOFError):
                transport._send_message(message)
        time.sleep(1)
        assert service.added() < MOST


def test_sessions_that_are_never_begun_keep_little(service: Service) -> None:
    with ExitStack() as connections:
        for _ in range(5):
            transport = connections.enter_context(ssh(service))
            with suppress(paramiko.SSHException):
                for _ in range(10):
                    flood(connections.enter_context(transport.open_session(timeout=5)), bytes(32_000), 4 << 20, 0.1)
        assert service.growth() < 140_000_000
        assert service.deliver() < 15
