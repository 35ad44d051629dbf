"""What our own FTP site bounds, seen by clients that keep to the protocol: ports, order, answers read late."""

from __future__ import annotations

import ftplib
import io
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import HOST, program


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Running]:
    with dropsite("ftp", tmp_path) as running:
        yield running


def login(site: Running) -> ftplib.FTP:
    client = ftplib.FTP(timeout=10, encoding="utf-8")
    client.connect(HOST, site.port)
    client.login("cegid", PASSWORD)
    return client


def test_a_client_that_does_not_come_for_its_port_gives_it_up(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, passive_ports=(50421, 50422)) as site, ExitStack() as clients:
        for _ in range(2):
            clients.enter_context(login(site)).sendcmd("PASV")
        late = clients.enter_context(login(site))
        with pytest.raises(ftplib.error_temp, match=r"425.*no port|425.*No port"):
            late.sendcmd("PASV")
        time.sleep(3.1)
        assert late.nlst() == []


def test_ports_that_are_used_up_are_free_again_behind_each_transfer(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, passive_ports=(50431, 50431)) as site, login(site) as client:
        for number in range(3):
            client.storbinary(f"STOR {number}.csv", io.BytesIO(b"x"))
        assert client.nlst() == ["0.csv", "1.csv", "2.csv"]


def test_many_commands_at_once_are_all_answered_in_order(site: Running) -> None:
    with login(site) as client:
        assert client.sock is not None
        client.sock.sendall(b"HELP\r\nNOOP\r\nPWD\r\n" * 200)
        assert [client.getmultiline()[:3] for _ in range(600)] == ["214", "200", "257"] * 200


def test_more_commands_than_can_wait_end_the_connection(site: Running) -> None:
    with login(site) as client:
        data = client.transfercmd("STOR S.csv")
        data.sendall(b"half")
        assert client.sock is not None
        with pytest.raises((ftplib.error_temp, EOFError, OSError)):
            client.sock.sendall(b"PWD\r\n" * 1500)
            for _ in range(1500):
                client.voidresp()
        data.close()
    assert site.landed == []


def test_a_second_transfer_beside_a_download_is_refused(site: Running) -> None:
    (site.root / "large").write_bytes(bytes(20_000_000))
    with login(site) as client:
        client.voidcmd("TYPE I")
        data = client.transfercmd("RETR large")
        with pytest.raises(ftplib.error_temp, match="450"):
            client.sendcmd("STOR S.csv")
        count = 0
        while piece := data.recv(1 << 20):
            count += len(piece)
        data.close()
        assert client.voidresp().startswith("226")
        assert count == 20_000_000
        client.storbinary("STOR S.csv", io.BytesIO(b"x"))


def test_a_port_of_data_hears_nobody_but_the_client(site: Running) -> None:
    with login(site) as client:
        port = int(client.makepasv()[1])
        with socket.create_connection((HOST, port), 5, ("127.0.0.9", 0)) as foreign:
            assert foreign.recv(10) == b""
        data = socket.create_connection((HOST, port), 5)
        assert client.sendcmd("NLST").startswith("1")
        assert data.recv(10) == b""
        data.close()
        assert client.voidresp().startswith("226")


def test_the_password_of_one_client_holds_up_no_transfer_of_another(site: Running) -> None:
    with login(site) as client, ExitStack() as guessers:
        for number in range(10):
            one = guessers.enter_context(socket.create_connection((HOST, site.port), 5, (f"127.0.2.{number + 1}", 0)))
            one.sendall(b"USER cegid\r\nPASS wrong\r\n")
        begun = time.monotonic()
        for _ in range(20):
            client.sendcmd("NOOP")
        assert time.monotonic() - begun < 1


def test_lftp_with_ten_connections_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.csv").write_bytes(b"a;b\n" * (number + 1))
    with dropsite("ftp", tmp_path / "site") as site:
        script = (
            f"set ftp:ssl-allow no; set net:max-retries 3; open -p {site.port} -u 'cegid,{PASSWORD}' ftp://{HOST};"
            f" mirror -R --parallel=10 --no-perms {folder} files"
        )
        done = subprocess.run(
            [program("lftp", "lftp"), "--norc", "-c", script], capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        for path in folder.iterdir():
            assert (site.root / "files" / path.name).read_bytes() == path.read_bytes()
    assert len(site.landed) == 40
