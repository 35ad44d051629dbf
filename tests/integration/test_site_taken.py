"""The real daemon with its own sites: what is put there is taken at once, with no time to settle."""

from __future__ import annotations

import ftplib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from cegid_daemon import passwords
from tests.servers.places import HOST, make_key, wait_until

PASSWORD = "geheim"
CONFIGURATION = """
[site.ftp]
listen = "127.0.0.1:0"
users.cegid = {{ password = {{ file = "hash" }}, folder = "inbox" }}
[site.sftp]
listen = "127.0.0.1:0"
host_key = "host_key"
users.cegid = {{ password = {{ file = "hash" }}, folder = "inbox" }}
[store.main]
[endpoint.in]
url = "file:inbox"
[endpoint.out]
url = "file:outbox"
[route.stock]
store = "main"
source = {{ endpoint = "in", folder = "stock", match = "*.csv", settle = "{settle}" }}
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "out", name = "{{{{ source.stem }}}}.xml" }}
"""
STOCK = (Path(__file__).parents[2] / "samples" / "STOCK.csv").read_bytes()


def shop(folder: Path, settle: str) -> Path:
    (folder / "hash").write_text(passwords.hashed(PASSWORD))
    make_key(folder / "host_key")
    (folder / "cegid-daemon.toml").write_text(CONFIGURATION.format(settle=settle))
    return folder


@contextmanager
def daemon(folder: Path) -> Iterator[dict[str, int]]:
    """The running daemon; the ports of its sites by their names."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cegid_daemon", "run"], cwd=folder, stderr=output, env={**os.environ}
        )
    try:
        wait_until(lambda: "Ready." in log.read_text() and log.read_text().count("listens on") == 2, 30)
        yield {
            name: int(port) for name, port in re.findall(r"(FTP|SFTP) site: listens on \S+ port (\d+)", log.read_text())
        }
    finally:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, log.read_text()
    assert time.monotonic() - began < 10
    assert PASSWORD not in log.read_text()


def put_by_ftp(port: int, name: str, body: bytes = STOCK) -> None:
    with ftplib.FTP(timeout=10) as ftp:
        ftp.connect(HOST, port)
        ftp.login("cegid", PASSWORD)
        ftp.storbinary(f"STOR stock/{name}", io.BytesIO(body))


def put_by_sftp(port: int, name: str) -> None:
    transport = paramiko.Transport((HOST, port))
    try:
        transport.connect(username="cegid", password=PASSWORD)
        client = paramiko.SFTPClient.from_transport(transport)
        assert client is not None
        with client.open(f"stock/{name}", "wb") as file:
            file.write(STOCK)
    finally:
        transport.close()


def test_what_is_put_by_ftp_and_sftp_is_taken_without_waiting_to_settle(tmp_path: Path) -> None:
    with daemon(shop(tmp_path, "10m")) as ports:
        for number in range(3):
            put_by_ftp(ports["FTP"], f"F{number}.csv")
            put_by_sftp(ports["SFTP"], f"S{number}.csv")
        wait_until(lambda: len(list((tmp_path / "outbox").glob("*.xml"))) == 6, 5)
        (tmp_path / "inbox" / "stock" / "local.csv").write_bytes(STOCK)
        time.sleep(2.5)
        assert not (tmp_path / "outbox" / "local.xml").exists()


def test_an_empty_file_that_is_put_whole_is_taken_at_once(tmp_path: Path) -> None:
    with daemon(shop(tmp_path, "0s")) as ports:
        put_by_ftp(ports["FTP"], "EMPTY.csv", b"")
        wait_until(lambda: len(list((tmp_path / "inbox" / "stock" / "processed").glob("*/EMPTY.csv"))) == 1, 10)


def test_a_stop_in_the_middle_of_an_upload_is_clean_and_takes_nothing_half(tmp_path: Path) -> None:
    with daemon(shop(tmp_path, "0s")) as ports:
        ftp = ftplib.FTP(timeout=10)
        ftp.connect(HOST, ports["FTP"])
        ftp.login("cegid", PASSWORD)
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd("STOR stock/HALF.csv")
        data.sendall(STOCK[: len(STOCK) // 2])
        wait_until((tmp_path / "inbox" / "stock" / ".uploading" / "HALF.csv").exists)
    data.close()
    ftp.close()
    assert not list((tmp_path / "outbox").glob("*.xml"))
    with daemon(tmp_path) as ports:
        with ftplib.FTP(timeout=10) as again:
            again.connect(HOST, ports["FTP"])
            again.login("cegid", PASSWORD)
            again.voidcmd("TYPE I")
            size = again.size("stock/HALF.csv")
            assert size is not None
            again.storbinary("STOR stock/HALF.csv", io.BytesIO(STOCK[size:]), rest=size)
        wait_until(lambda: len(list((tmp_path / "outbox").glob("*.xml"))) == 1, 5)


def test_a_port_that_is_taken_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from datetime import UTC, datetime

    from cegid_daemon.model import SiteSpec
    from cegid_daemon.sites.ftp_site import FtpSite
    from cegid_daemon.sites.upload import Uploads

    def site(port: int) -> FtpSite:
        spec = SiteSpec("ftp", HOST, port, ())
        return FtpSite(spec, Uploads(), lambda *_: None, clock=lambda: datetime.now(UTC))

    first = site(0)
    first.start()
    second = site(first.port)
    second.start()
    assert second.port == 0
    assert "cannot listen" in caplog.text
    first.stop()
    second._try_at = 0
    second.tend()
    assert second.port
    second.stop()
