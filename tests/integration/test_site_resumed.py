"""Real clients resume at our drop sites what broke off behind its last byte: not lost, not half, not twice."""

from __future__ import annotations

import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import paramiko
import pytest

from tests.integration.test_site_ftp import tls
from tests.integration.test_site_sftp import connected
from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import program

BODY = b"a;b\r\n" + b"1;2\r\n" * 40_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "S.csv"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Running]:
    with dropsite("ftps", tmp_path / "site") as running:
        yield running


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[Running]:
    with dropsite("sftp", tmp_path / "site") as running:
        yield running


def break_off(sock: socket.socket, how: str) -> None:
    if how == "reset":
        socket.socket.setsockopt(sock, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket.close(sock)


def resume(client: str, scheme: str, site: Running, file: Path) -> None:
    where = f"{scheme}://cegid:{quote(PASSWORD)}@127.0.0.1:{site.port}/"
    words = {
        "curl": ["curl", "-sS", "--insecure", "--ssl-reqd", "-C", "-", "-T", str(file), where],
        "lftp": [
            "lftp", "--norc", "-c",
            "set ssl:verify-certificate no; set ftp:ssl-force yes; set sftp:auto-confirm yes; set net:max-retries 1; "
            f"open {shlex.quote(where)}; put -c {file}",
        ],
    }[client]  # fmt: skip
    if scheme == "sftp" and client == "curl":
        words.remove("--ssl-reqd")
    subprocess.run([program(words[0], words[0]), *words[1:]], check=True, timeout=60)


def assert_once(site: Running) -> None:
    assert (site.root / "S.csv").read_bytes() == BODY
    assert site.names() == ["S.csv"]
    assert not list((site.root / ".uploading").glob("*"))


@pytest.mark.parametrize("client", ["curl", "lftp"])
@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("sent", [len(BODY), len(BODY) - 1, 1000], ids=["all", "all but one", "some"])
def test_an_upload_over_tls_that_broke_off_is_resumed(
    secure: Running, file: Path, client: str, end: str, sent: int
) -> None:
    ftp = tls(secure)
    ftp.login("cegid", PASSWORD)
    ftp.prot_p()
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd("STOR S.csv")
    data.sendall(BODY[:sent])
    for sock in (data, ftp.sock):
        assert sock is not None
        break_off(sock, end)
    ftp.file.close()  # type: ignore[union-attr]
    time.sleep(0.5)
    assert secure.landed == []
    resume(client, "ftp", secure, file)
    assert_once(secure)


@pytest.mark.parametrize("client", ["curl", "lftp"])
def test_an_upload_that_came_whole_and_whose_answer_was_not_heard_is_not_taken_again(
    secure: Running, file: Path, client: str
) -> None:
    ftp = tls(secure)
    ftp.login("cegid", PASSWORD)
    ftp.prot_p()
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd("STOR S.csv")
    data.sendall(BODY)
    data.unwrap()  # type: ignore[attr-defined]
    data.close()
    time.sleep(0.5)
    ftp.close()
    resume(client, "ftp", secure, file)
    assert_once(secure)


@pytest.mark.parametrize("client", ["curl", "lftp"])
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_an_upload_over_ssh_that_broke_off_is_resumed(ssh: Running, file: Path, client: str, end: str) -> None:
    with connected(ssh) as transport:
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        opened = sftp.open("S.csv", "wb")
        opened.write(BODY)
        aside = ssh.root / ".uploading" / "S.csv"
        deadline = time.monotonic() + 10
        while not aside.exists() or aside.stat().st_size != len(BODY):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        break_off(transport.sock, end)
    time.sleep(0.5)
    assert ssh.landed == []
    resume(client, "sftp", ssh, file)
    assert_once(ssh)
