"""Any commands, in any order, of clients of our own drop sites: no fault of ours, no way out, no half file."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import paramiko
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import HOST, Hidden

SALT = b"0123456789abcdef"
CHEAP = hashlib.scrypt(PASSWORD.encode(), salt=SALT, n=1 << 10, r=8, p=1, dklen=32)
HASH = Hidden(
    "$scrypt$ln=10,r=8,p=1$"
    + "$".join(base64.b64encode(part).decode().rstrip("=") for part in (SALT, CHEAP))
)  # fmt: skip
WHOLE, HALF = b"<" + b"x" * 3000 + b">", b"<" + b"x" * 1500  # a file that does not end in ">" is half a file
FUZZ = settings(
    max_examples=30 * int(os.environ.get("CEGID_DAEMON_TEST_EFFORT", "1")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

names = st.sampled_from([
    "a", "b", "sub", "sub/a", "sub/../a", "..", "../outside", "/", "", ".", ".uploading", ".uploading/a",
    "/../../etc/passwd",
    ".cegid-daemon.owner", "x" * 256, "a b", "-la", "*", "ä", "\udcff", "a\rb", "a\x00", "%s%n", "~", "link",
    "link/a",
])  # fmt: skip


def prepared(site: Running) -> Path:
    """What lies beside the user's folder, and a link to it."""
    outside = site.root.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "a").write_bytes(b"secret>")
    if not (site.root / "link").is_symlink():
        (site.root / "link").symlink_to(outside)
    return outside


def check(site: Running, outside: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [path.name for path in outside.iterdir()] == ["a"]
    assert (outside / "a").read_bytes() == b"secret>"
    assert {path.name for path in site.root.parent.iterdir()} == {"outside", "root"}
    for path in site.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".uploading" not in path.parts:
            assert path.read_bytes().endswith(b">"), path
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info], caplog.text


# -- FTP


class Ftp:
    """A client that says what it likes."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), timeout=5)
        self.lines = self.sock.makefile("rb")
        self.reply()
        self.say("USER cegid")
        assert self.say(f"PASS {PASSWORD}").startswith(b"230")
        self.sock.settimeout(0.5)  # what waits behind an upload that goes on is not answered

    def say(self, line: str) -> bytes:
        self.sock.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self.reply()

    def reply(self) -> bytes:
        while line := self.lines.readline():
            if re.match(rb"\d{3} ", line):
                return line
        raise EOFError

    def data(self) -> socket.socket:
        found = re.search(rb"\(.*?(\d+),(\d+)\)", self.say("PASV"))
        if found is None:
            raise EOFError
        return socket.create_connection((HOST, int(found[1]) * 256 + int(found[2])), timeout=5)

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


simple = st.tuples(
    st.sampled_from([
        "CWD", "CDUP", "PWD", "DELE", "RMD", "MKD", "RNFR", "RNTO", "SIZE", "MDTM", "MLST", "STAT", "REST", "TYPE",
        "OPTS", "ALLO", "SITE", "NOOP", "PASV", "EPSV", "PORT", "EPRT", "ABOR", "STOR", "RETR", "LIST", "NLST", "FEAT",
        "HELP", "SYST", "STRU", "MODE", "AUTH", "PBSZ", "PROT", "MFMT", "STOU", "XCWD", "XMKD", "\udcff\udcf4ABOR", "",
        "GET", "QUIT\t",
    ]),
    names
    | st.sampled_from(["I", "A", "1000", "-1", "9" * 30, "TLS", "127,0,0,1,0,1", "|1|127.0.0.1|80|", "MLST size;"]),
)  # fmt: skip
transfer = st.tuples(st.sampled_from(["STOR", "APPE"]), names, st.sampled_from(["whole", "reset", "abort", "leave"]))
listing = st.tuples(
    st.sampled_from(["LIST", "NLST", "MLSD", "RETR"]), names, st.sampled_from(["read", "reset", "leave"])
)


@FUZZ
@example([("RNFR", ".uploading"), ("RNTO", "a"), ("STOR", "a", "reset"), ("RNFR", "a"), ("RNTO", "b")])
@example([("STOR", "a"), ("STOR", "b"), ("REST", "1000"), ("STOR", "a", "whole"), ("STOR", "a", "leave")])
@example([("RETR", "a", "leave"), ("STOR", "a", "whole"), ("MLSD", "", "leave"), ("APPE", "a", "reset")])
@given(st.lists(simple | transfer | listing, max_size=15))
def test_any_commands_of_ftp(
    ftp_site: Running, caplog: pytest.LogCaptureFixture, commands: list[tuple[str, ...]]
) -> None:
    caplog.clear()
    outside = prepared(ftp_site)
    client = Ftp(ftp_site.port)
    open_data: list[socket.socket] = []
    try:
        for command in commands:
            if len(command) == 2:
                client.say(" ".join(command))
            else:
                _transfer(client, *command, open_data)
    except (EOFError, OSError):
        pass  # it was sent away
    finally:
        for data in open_data:
            _reset(data)
        client.close()
    again = Ftp(ftp_site.port)
    again.say("NOOP")
    again.close()
    check(ftp_site, outside, caplog)


def _transfer(client: Ftp, command: str, name: str, how: str, open_data: list[socket.socket]) -> None:
    data = client.data()
    open_data.append(data)
    if not client.say(f"{command} {name}").startswith(b"1"):
        return
    if command in ("STOR", "APPE"):
        data.sendall(WHOLE if how == "whole" else HALF)
    elif how == "read":
        while data.recv(65_536):
            pass
    if how in ("whole", "read"):
        data.close()
        client.reply()
    elif how == "reset":
        _reset(data)
        client.reply()
    elif how == "abort":
        client.say("ABOR")


def _reset(data: socket.socket) -> None:
    with suppress(OSError):
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    data.close()


@pytest.fixture
def ftp_site(tmp_path: Path) -> Iterator[Running]:
    with dropsite("ftp", tmp_path, grace=timedelta(0), user={"password": HASH}) as site:
        yield site


# -- SFTP


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


numbers = st.sampled_from([0, 1, 255, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
long_numbers = st.sampled_from([0, 1, 3001, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
paths = names.map(lambda name: string(name.encode("utf-8", "surrogateescape")))
handles = st.sampled_from(
    [string(struct.pack(">I", number)) for number in range(4)] + [string(b""), string(b"x" * 300)]
)
attributes = st.sampled_from([
    struct.pack(">I", 0), struct.pack(">IQ", 1, 1 << 63), struct.pack(">III", 8, 0, 0xFFFFFFFF),
    struct.pack(">II", 0x80000000, 0xFFFFFFFF), struct.pack(">III", 2, 1, 2), struct.pack(">II", 4, 0o7777), b"",
])  # fmt: skip


def fields(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


def packed(form: str, values: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: struct.pack(form, value))


requests = st.one_of(
    st.tuples(st.just(3), fields(paths, packed(">I", st.integers(0, 63)), attributes)),
    st.tuples(st.just(4), handles),
    st.tuples(st.just(5), fields(handles, packed(">Q", long_numbers), packed(">I", numbers))),
    st.tuples(st.just(6), fields(handles, packed(">Q", long_numbers), st.sampled_from([string(WHOLE), b""]))),
    st.tuples(st.sampled_from([7, 11, 13, 15, 16, 17, 19]), paths),
    st.tuples(st.sampled_from([8, 12]), handles),
    st.tuples(st.sampled_from([9, 14]), fields(paths, attributes)),
    st.tuples(st.just(10), fields(handles, attributes)),
    st.tuples(st.sampled_from([18, 20, 21]), fields(paths, paths)),
    st.tuples(
        st.just(200),
        fields(
            st.sampled_from([
                string(name) for name in (
                    b"posix-rename@openssh.com", b"hardlink@openssh.com", b"statvfs@openssh.com", b"copy-data",
                    b"fsync@openssh.com", b"lsetstat@openssh.com", b"limits@openssh.com", b"ranges@asyncssh.com",
                    b"\xff",
                )
            ]), paths | handles, paths | attributes,
        ),
    ),
    st.tuples(st.integers(0, 255), st.binary(max_size=40)),
)  # fmt: skip


@pytest.fixture
def sftp_site(tmp_path: Path) -> Iterator[Running]:
    with dropsite("sftp", tmp_path, user={"password": HASH}) as site:
        yield site


@FUZZ
@example([(3, string(b"a") + struct.pack(">II", 26, 0)), (5, string(bytes(4)) + struct.pack(">QI", 1 << 63, 1 << 31))])
@example(
    [(11, string(b"")), (12, string(bytes(4))), (12, string(bytes(4))), (4, string(bytes(4))), (12, string(bytes(4)))]
)
@given(st.lists(requests, max_size=25))
def test_any_requests_of_sftp(
    sftp_site: Running, caplog: pytest.LogCaptureFixture, asked: list[tuple[int, bytes]]
) -> None:
    caplog.clear()
    outside = prepared(sftp_site)
    with paramiko.Transport((HOST, sftp_site.port)) as transport:
        transport.connect(username="cegid", password=PASSWORD)
        channel = transport.open_session()
        channel.settimeout(5)
        channel.invoke_subsystem("sftp")
        channel.sendall(struct.pack(">IBI", 5, 1, 3))
        packets = [struct.pack(">BI", number, at) + payload for at, (number, payload) in enumerate(asked)]
        said = b""
        with suppress(OSError):
            channel.sendall(b"".join(map(string, packets)))
            channel.shutdown_write()
            while piece := channel.recv(65_536):
                said += piece
    assert b"Uncaught" not in said
    assert [path.name for path in outside.iterdir()] == ["a"]
    assert (outside / "a").read_bytes() == b"secret>"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info], caplog.text
