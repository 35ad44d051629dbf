"""An SFTP server that answers without end, unasked, or with what no server says: a plain trouble, soon."""

from __future__ import annotations

import socket
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from cegid_daemon.endpoints.bounds import no_beat
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.endpoints.sftp import SftpEndpoint
from cegid_daemon.errors import EndpointError, SourceChanged, Transient, Untrusted
from tests.servers import hostile_sftp as sftp
from tests.servers.hostile_sftp import Answer, HostileSftp, Requests, attributes, entry, hostile_sftp
from tests.servers.places import HOST, Hidden

LARGEST = 120_000_000  # bytes of memory that any attack may take


@contextmanager
def attacked(
    folder: Path, answers: dict[int, Answer] | None = None, raw: Callable[[socket.socket], None] | None = None,
    known: str = "{line}", beat: Callable[[], None] = no_beat,
) -> Iterator[tuple[SftpEndpoint, HostileSftp]]:  # fmt: skip
    with hostile_sftp(folder, answers, raw) as server:
        hosts = folder / "known_hosts"
        hosts.write_text(known.format(line=server.host_line, port=server.port) + "\n")
        endpoint = SftpEndpoint(
            Server(
                "evil", "sftp", HOST, server.port, "cegid", "/", known_hosts=str(hosts),
                password=Hidden(sftp.PASSWORD), timeout=timedelta(seconds=5), beat=beat,
            )
        )  # fmt: skip
        try:
            yield endpoint, server
        finally:
            endpoint.close()


def many_names(requests: Requests, number: int, _body: bytes) -> None:
    requests.reply(sftp.NAME, number, struct.pack(">I", 5000) + entry(b"S1.csv") * 5000)


def bad_count(requests: Requests, number: int, _body: bytes) -> None:
    requests.reply(sftp.NAME, number, struct.pack(">I", 0xFFFFFFFF) + entry(b"S1.csv"))


def huge_extended(requests: Requests, number: int, _body: bytes) -> None:
    extended = struct.pack(">II", 0x80000000, 0xFFFFFFFF)
    requests.reply(sftp.NAME, number, struct.pack(">I", 1) + entry(b"S1.csv", extended))


def long_packet(requests: Requests, _number: int, _body: bytes) -> None:
    requests.channel.sendall(struct.pack(">IB", 0xFFFFFFF0, sftp.NAME))
    flood(requests)


def flood(requests: Requests) -> None:
    for _ in range(4000):
        requests.channel.sendall(bytes(32768))


def unasked(requests: Requests, _number: int, _body: bytes) -> None:
    for other in count(1000):
        requests.reply(sftp.DATA, other, sftp.text(bytes(32000)))


def long_handle(requests: Requests, number: int, _body: bytes) -> None:
    requests.reply(sftp.HANDLE, number, sftp.text(bytes(1 << 20)))


def long_status(requests: Requests, number: int, _body: bytes) -> None:
    requests.status(number, 4, b"x" * (1 << 20))


def half_a_packet(requests: Requests, _number: int, _body: bytes) -> None:
    requests.channel.sendall(struct.pack(">IB", 1000, sftp.NAME) + b"half")
    requests.channel.close()


def dripping(requests: Requests, number: int, _body: bytes) -> None:
    requests.channel.sendall(struct.pack(">IBI", 1 << 20, sftp.NAME, number))
    while True:
        requests.channel.sendall(b"x")
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({sftp.READDIR: many_names}, "more than 25,000 entries"),
        ({sftp.READDIR: bad_count}, "entries in one reply"),
        ({sftp.READDIR: huge_extended}, ""),
        ({sftp.READDIR: long_packet}, "a packet of"),
        ({sftp.READDIR: unasked}, "which was not made"),
        ({sftp.READDIR: half_a_packet}, ""),
        ({sftp.OPENDIR: long_handle}, "a handle of"),
        ({sftp.OPENDIR: long_status}, "xxx"),
    ],
)
def test_an_answer_without_end_or_sense_is_a_trouble_of_the_server(
    tmp_path: Path, answers: dict[int, Answer], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cegid_daemon.endpoints.bounds.MAX_ENTRIES", 25_000)
    with attacked(tmp_path, answers) as (endpoint, _server):
        tracemalloc.start()
        with pytest.raises(EndpointError) as raised:
            endpoint.list("")
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert why in str(raised.value)
    assert len(str(raised.value)) < 3000
    assert grown < LARGEST


def test_a_reply_that_comes_in_drops_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cegid_daemon.endpoints.bounds._REPLY_PATIENCE", 0.1)
    slow = {sftp.READDIR: dripping}
    beats: list[int] = []
    told = pytest.raises(Transient, match="a reply was not complete")
    with attacked(tmp_path, slow, beat=lambda: beats.append(1)) as (endpoint, _server), told:
        endpoint.list("")
    assert beats  # so that the watchdog takes it for no standstill


def test_names_that_lead_elsewhere_and_sizes_that_no_file_has_are_never_taken(tmp_path: Path) -> None:
    names = [b"../evil", b"/etc/passwd", b"a/b", b"", b"a\0b", b"S1.csv", b"n" * 3000]
    entries = [*map(entry, names), entry(b"huge", attributes((1 << 64) - 1)), entry(b"link", attributes(9, 0o120777))]

    def listing(requests: Requests, number: int, _body: bytes) -> None:
        if requests.listed:
            requests.status(number, 1)
            return
        requests.listed = True
        requests.reply(sftp.NAME, number, struct.pack(">I", len(entries)) + b"".join(entries))

    with attacked(tmp_path, {sftp.READDIR: listing}) as (endpoint, _server):
        found = endpoint.list("")
    assert [one.name for one in found if one.regular] == ["S1.csv"]
    assert all(one.identity.size < 1 << 63 for one in found)
    unread = found.unread  # type: ignore[attr-defined]
    assert "../evil" in unread
    assert "/etc/passwd" in unread


def test_more_bytes_than_were_asked_for_are_not_taken(tmp_path: Path) -> None:
    def generous(requests: Requests, number: int, _body: bytes) -> None:
        requests.reply(sftp.DATA, number, sftp.text(bytes(1 << 20)))

    with attacked(tmp_path, {sftp.READ: generous}) as (endpoint, _server):
        with pytest.raises((Transient, SourceChanged)) as raised, endpoint.read("", "S1.csv") as reading:
            b"".join(reading)
        assert "bytes where 10 were asked for" in str(raised.value)


@pytest.mark.parametrize("piece", [b"x" * 65536, b"welcome\r\n" * 7000, b"SSH-2.0-x\r\n" + b"\xff" * 65536])
def test_a_server_that_talks_before_the_login_without_end_is_left(tmp_path: Path, piece: bytes) -> None:
    def raw(sock: socket.socket) -> None:
        while True:
            sock.sendall(piece)

    with attacked(tmp_path, raw=raw) as (endpoint, _server):
        begun = time.monotonic()
        tracemalloc.start()
        with pytest.raises(EndpointError):
            endpoint.list("")
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert grown < LARGEST
    assert time.monotonic() - begun < 20


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHZ3c2xlZXBlcnNsZWVwZXJzbGVlcGVyc2xlZXBlcg=="


@pytest.mark.parametrize(
    ("known", "what"),
    [
        ("", "is not known"),
        (f"[{HOST}]:{{port}} ssh-ed25519 {KEY}", "has changed"),
        (f"[{HOST}]:{{port}} ssh-rsa {KEY}", "has changed"),
        (f"[{HOST}]:{{port}} ssh-ed25519 garbage!", "has changed"),
        (f"{HOST} ssh-ed25519 {KEY}", "is not known"),
        ("@revoked {line}\n{line}", "was revoked"),
        ("@cert-authority {line}", "is not known"),
        ("|1|garbage", "is not known"),
    ],
)
def test_the_password_waits_for_a_host_key_that_is_known(tmp_path: Path, known: str, what: str) -> None:
    with attacked(tmp_path, known=known) as (endpoint, server):
        with pytest.raises(Untrusted, match=what):
            endpoint.list("")
        assert server.passwords == []
