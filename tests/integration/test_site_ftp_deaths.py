"""Clients that die while they send by plain FTP: what did not come whole is never taken as whole.

CEGID_DAEMON_TEST_EFFORT=13 kills more than 300 of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import HOST, program, wait_until

EFFORT = int(os.environ.get("CEGID_DAEMON_TEST_EFFORT", "1"))
AT_ONCE = 3
SIZE = 400_000
RATE = 400_000  # bytes a second: each upload would take about a second

FTPLIB = """
import ftplib, sys, time
class Slow:
    def __init__(self, file): self.file = file
    def read(self, size):
        time.sleep(0.02)
        return self.file.read(8000)
ftp = ftplib.FTP(timeout=30, encoding="utf-8")
ftp.connect(sys.argv[1], int(sys.argv[2]))
ftp.login("cegid", sys.argv[3])
with open(sys.argv[4], "rb") as file:
    ftp.storbinary("STOR " + sys.argv[5], Slow(file))
"""
# Its descriptors are opened, doubled and ordered as chance has it: the kernel ends them in that order.
RAW = """
import os, random, re, socket, sys, time
choice = random.Random(int(sys.argv[6]))
control = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def ask(line):
    control.sendall(line.encode() + b"\\r\\n")
    return control.recv(4096).decode()
control.recv(4096)
ask("USER cegid"); ask("PASS " + sys.argv[3]); ask("TYPE I")
port = int(re.search(r"\\|(\\d+)\\|", ask("EPSV"))[1])
data = socket.create_connection((sys.argv[1], port))
ask("STOR " + sys.argv[5])
for _ in range(choice.randrange(3)):
    os.dup(choice.choice([control, data]).fileno())
if choice.random() < 0.5:  # the data connection gets the lower number
    low, high = os.dup(data.fileno()), os.dup(control.fileno())
    data.close(); control.close()
    data, control = socket.socket(fileno=low), socket.socket(fileno=high)
with open(sys.argv[4], "rb") as file:
    while chunk := file.read(choice.choice([1000, 8000, 40000])):
        data.sendall(chunk)
        if choice.random() < 0.1:
            control.sendall(b"NOOP\\r\\n")
        time.sleep(len(chunk) / 400_000)
data.close()
control.recv(4096)
"""


def _command(kind: str, site: Running, file: Path, name: str, seed: int) -> list[str]:
    if kind == "curl":
        to = ["-u", f"cegid:{PASSWORD}", f"ftp://{HOST}:{site.port}/{name}"]
        return [program("curl", "curl"), "-sS", "--limit-rate", str(RATE // 4), "-T", str(file), *to]
    if kind == "lftp":
        script = (
            f"set ftp:ssl-allow no; set ftp:use-allo no; set net:limit-rate {RATE // 2}; set net:max-retries 1; "
            f"open -p {site.port} -u 'cegid,{PASSWORD}' ftp://{HOST}; put {file} -o {name}"
        )
        return [program("lftp", "lftp"), "--norc", "-c", script]
    body = FTPLIB if kind == "ftplib" else RAW
    return [sys.executable, "-c", textwrap.dedent(body), HOST, str(site.port), PASSWORD, str(file), name, str(seed)]


def _kill_one_by_one(kind: str, site: Running, file: Path, count: int, choice: random.Random) -> None:
    """Starts clients, some at once, and kills each in the middle of its upload."""
    for first in range(0, count, AT_ONCE):
        running = []
        for number in range(first, min(first + AT_ONCE, count)):
            name = f"{kind}{number}.csv"
            command = _command(kind, site, file, name, choice.randrange(1 << 30))
            running.append((name, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)))
        for name, process in running:
            wait_until(
                lambda name=name, process=process: (
                    (site.root / ".uploading" / name).exists()
                    or (site.root / name).exists()
                    or process.poll() is not None
                ),
                30,
            )
            time.sleep(choice.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            _, error = process.communicate(timeout=30)
            assert process.returncode in {0, -signal.SIGKILL}, error


@pytest.mark.timeout(600 if EFFORT > 1 else 120)
@pytest.mark.parametrize("kind", ["ftplib", "curl", "lftp", "raw"])
def test_a_client_that_is_killed_never_leaves_a_half_file_that_counts_as_whole(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "whole.csv"
    file.write_bytes(os.urandom(SIZE))
    with dropsite("ftp", tmp_path, connections=200) as site:
        _kill_one_by_one(kind, site, file, 6 * EFFORT, random.Random(kind))
        wait_until(lambda: not _open_files(site), 20)
        time.sleep(0.7)
        found = Counter(
            "whole" if path.read_bytes() == file.read_bytes() else "half"
            for path in site.root.iterdir() if path.is_file()
        )  # fmt: skip
        aside = site.root / ".uploading"
        found["kept"] = len(list(aside.iterdir())) if aside.exists() else 0
    print(f"{kind}: {6 * EFFORT} kills: {dict(found)}")
    assert found["half"] == 0
    assert found["whole"] + found["kept"] == 6 * EFFORT
    assert len(site.landed) == found["whole"]
    assert found["kept"] > 0


def _open_files(site: Running) -> list[str]:
    """Uploads this process still has open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except OSError:
            continue
    return [one for one in links if one.startswith(f"{site.root}/.uploading/")]


def test_lftp_that_announces_the_length_does_not_wait(tmp_path: Path) -> None:
    lftp = program("lftp", "lftp")
    file = tmp_path / "whole.csv"
    file.write_bytes(b"x" * 1000)
    with dropsite("ftp", tmp_path) as site:
        there = f"open -p {site.port} -u 'cegid,{PASSWORD}' ftp://{HOST}"
        script = f"set ftp:ssl-allow no; set ftp:use-allo yes; {there}; put {file}"
        assert subprocess.run([lftp, "--norc", "-c", script], check=False, timeout=30).returncode == 0
        assert (site.root / "whole.csv").read_bytes() == b"x" * 1000
