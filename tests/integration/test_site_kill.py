"""SIGKILL of the daemon in the middle of uploads: nothing half under a final name, nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import ftplib
import io
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.test_site_taken import PASSWORD, shop
from tests.servers.places import HOST, wait_until

HEAD = b"GA_CODEBARRE;GA_CODEARTICLE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE\r\n"
ROWS = b"".join(b"%013d;A%d;010;5;0;0;-\r\n" % (number, number) for number in range(20_000))


@contextmanager
def killed(folder: Path) -> Iterator[int]:
    """A daemon that ends by SIGKILL; the port of its FTP site."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "cegid_daemon", "run"], cwd=folder, stderr=output)
    try:
        wait_until(lambda: "Ready." in log.read_text() and log.read_text().count("listens on") == 2, 30)
        found = re.search(r"FTP site: listens on \S+ port (\d+)", log.read_text())
        assert found
        yield int(found[1])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)


def send(port: int, name: str, content: bytes) -> bool:
    """Whether the site said that it has the file; a resumption where a part lies there."""
    try:
        with ftplib.FTP(timeout=10) as ftp:
            ftp.connect(HOST, port)
            ftp.login("cegid", PASSWORD)
            ftp.voidcmd("TYPE I")
            with contextlib.suppress(ftplib.error_perm):
                start = ftp.size(f"stock/{name}") or 0
                ftp.storbinary(f"STOR stock/{name}", io.BytesIO(content[start:]), 8192, rest=start or None)
                return True
            ftp.storbinary(f"STOR stock/{name}", io.BytesIO(content), 8192)
            return True
    except (OSError, EOFError, ftplib.Error):
        return False


KILLS = 2  # a third kill in a row while one file is rewritten fails it, as it is to


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_daemon_takes_each_upload_whole_and_once(tmp_path: Path, seed: int) -> None:
    shop(tmp_path, "0s")
    choice = random.Random(seed)
    content = HEAD + ROWS
    for round_ in range(KILLS):
        with killed(tmp_path) as port:
            name = f"S{round_}.csv"
            sender = threading.Thread(target=send, args=(port, name, content))
            sender.start()
            time.sleep(choice.uniform(0.1, 0.4))
        sender.join()
    with killed(tmp_path) as port:
        for round_ in range(KILLS):
            if not taken(tmp_path, f"S{round_}.csv"):
                assert send(port, f"S{round_}.csv", content)
        wait_until(lambda: len(list((tmp_path / "outbox").glob("S*.xml"))) == KILLS, 60)
        wait_until(lambda: not list((tmp_path / "inbox" / "stock").glob("*.csv")), 30)
    with closing(sqlite3.connect(tmp_path / "var" / "journal.sqlite")) as db:
        rows = db.execute("SELECT file_name, size FROM message ORDER BY 1").fetchall()
    assert rows == [(f"S{number}.csv", len(content)) for number in range(KILLS)]


def taken(folder: Path, name: str) -> bool:
    stock = folder / "inbox" / "stock"
    return (stock / name).exists() or any((stock / "processed").rglob(name))
