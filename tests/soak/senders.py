"""Those who send: into folders in one step, slowly into an open file, by FTP and SFTP clients that are killed."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.soak.oracle import Lane, make_body

PASSWORD = "geheim"
_PENDING_AT_MOST = 40  # files of a lane that lie in its folder: a storm must not end in a backlog of minutes


class Sender(threading.Thread):
    """Sends one file after another until it is stopped."""

    def __init__(self, lane: Lane, chance: random.Random, pauses: tuple[float, float]) -> None:
        super().__init__(name=f"sender of {lane.name}")
        self.lane = lane
        self.chance = chance
        self._pauses = pauses
        self._end = threading.Event()

    def stop(self) -> None:
        """Ends after the file under way."""
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.wait(self.chance.uniform(*self._pauses)):
            self.send()

    def send(self) -> None:
        """Sends one file, or waits for room."""
        raise NotImplementedError

    def rows(self) -> int:
        """How many rows the next file has: mostly few, now and then many."""
        return self.chance.choice([1, 2, 2, 5, 40, 40, 400, 20_000])


class AtomicSender(Sender):
    """Writes aside and renames, as a good sender does. Names sort as the files were sent."""

    def __init__(
        self, lane: Lane, folder: Path, chance: random.Random, pauses: tuple[float, float], *,
        body: Callable[[int, int], bytes] = make_body,
    ) -> None:  # fmt: skip
        super().__init__(lane, chance, pauses)
        self._folder = folder
        self._body = body

    def send(self) -> None:
        if sum(1 for path in self._folder.iterdir() if path.suffix == ".csv") > _PENDING_AT_MOST:
            return
        number = self.lane.next_number()
        aside = self._folder / f".{number}.aside"
        try:
            aside.write_bytes(self._body(number, self.rows()))
        except OSError:
            self.lane.not_sent(number)
            aside.unlink(missing_ok=True)
            return
        aside.rename(self._folder / f"S{number:08d}.csv")
        self.lane.sent(number)


class SlowSender(Sender):
    """Opens a file under its final name, empty, and writes its rows with pauses longer than any quiet time."""

    def __init__(self, lane: Lane, folder: Path, chance: random.Random, longest_pause: float) -> None:
        super().__init__(lane, chance, (0.1, 1.0))
        self._folder = folder
        self._longest_pause = longest_pause

    def send(self) -> None:
        if any(path.suffix == ".csv" for path in self._folder.iterdir()):
            return
        number = self.lane.next_number()
        body = make_body(number, self.chance.choice([1, 2, 40, 400]))
        with (self._folder / f"S{number:08d}.csv").open("wb", buffering=0) as file:
            for piece in self._pieces(body):
                time.sleep(self.chance.uniform(0, self._longest_pause))
                file.write(piece)
        self.lane.sent(number)

    def _pieces(self, body: bytes) -> list[bytes]:
        cuts = sorted(self.chance.randrange(len(body)) for _ in range(self.chance.randrange(3)))
        return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


_FTPLIB = """
import ftplib, sys
host, port, password, path, name = sys.argv[1:]
with ftplib.FTP(timeout=20) as ftp:
    ftp.connect(host, int(port)); ftp.login("cegid", password)
    ftp.storbinary("STOR " + name, open(path, "rb"), 4096, callback=lambda _: __import__("time").sleep(0.002))
"""
_RAW = """
import re, socket, sys, time
host, port, password, path, name = sys.argv[1:]
control = socket.create_connection((host, int(port)), 20)
lines = control.makefile("rb")
def say(text):
    control.sendall(text.encode() + b"\\r\\n")
    return lines.readline()
lines.readline()
say("USER cegid"); say("PASS " + password); say("TYPE I")
low = re.findall(rb"\\d+", say("PASV"))[-2:]
data = socket.create_connection((host, int(low[0]) * 256 + int(low[1])), 20)
assert say("STOR " + name).startswith(b"1")
body = open(path, "rb").read()
for start in range(0, len(body), 2000):
    data.sendall(body[start:start + 2000]); time.sleep(0.003)
data.close()
sys.exit(not lines.readline().startswith(b"226"))
"""


class ClientSender(Sender):
    """Uploads to a drop site with a client of the field, and kills the client in the middle of most uploads."""

    def __init__(
        self, lane: Lane, kind: str, port: int, folder: str, scratch: Path, chance: random.Random, kills: Counter[str]
    ) -> None:
        super().__init__(lane, chance, (0.05, 0.3))
        self._kind = kind
        self._port = port
        self._folder = folder
        self._scratch = scratch
        self.kills = kills
        self.refused: Counter[str] = Counter()

    def rows(self) -> int:
        return self.chance.choice([1, 40, 2_000, 6_000])

    def send(self) -> None:
        number = self.lane.next_number()
        path = self._scratch / f"{self.lane.name}-{number}"
        path.write_bytes(make_body(number, self.rows()))
        client = self.chance.choice(["curl", "lftp", "ftplib", "raw"] if self._kind == "ftp" else ["sftp", "lftp"])
        process = subprocess.Popen(
            self._command(client, path, f"{self._folder}/S{number:08d}.csv"), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        kill = self.chance.random() < 0.7
        try:
            code = process.wait(self.chance.uniform(0.02, 0.9) if kill else 30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.kills[f"client {client}"] += 1
            code = -9
        if code == 0:
            self.lane.sent(number)
        else:
            self.refused[client] += code > 0
        path.unlink()

    def _command(self, client: str, path: Path, name: str) -> Sequence[str]:
        rate = self.chance.choice([20_000, 100_000, 1_000_000])
        login, host = f"cegid:{PASSWORD}", "127.0.0.1"
        if client == "curl":
            return ["curl", "-s", "-m", "20", "--limit-rate", str(rate), "-T", str(path), "--user", login,
                    f"ftp://{host}:{self._port}/{name}"]  # fmt: skip
        if client == "lftp":
            scheme = "sftp" if self._kind == "sftp" else "ftp"
            # It sends again what was not answered: the long pause is for it to be killed in, as one file is sent once.
            settings = {
                "net:max-retries": "1", "net:timeout": "10", "net:reconnect-interval-base": "100",
                "net:limit-rate": str(rate), "cmd:fail-exit": "yes", "ftp:ssl-allow": "no", "sftp:auto-confirm": "yes",
                "sftp:connect-program": "'ssh -a -x -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no'",
            }  # fmt: skip
            script = "".join(f"set {key} {value}; " for key, value in settings.items())
            script += f"open -u cegid,{PASSWORD} {scheme}://{host}:{self._port}; put {path} -o {name}"
            return ["lftp", "-c", script]
        if client == "sftp":
            trust = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
            key = ["-i", str(self._scratch / "client_key"), "-P", str(self._port)]
            batch = path.with_suffix(".batch")
            batch.write_text(f"put {path} {name}\n")
            return ["sftp", "-q", "-b", str(batch), "-l", str(rate // 100), *key, *trust, f"cegid@{host}"]
        code = _RAW if client == "raw" else _FTPLIB
        return [sys.executable, "-S", "-c", code, host, str(self._port), PASSWORD, str(path), name]


def missing_clients() -> list[str]:
    """The programs that are not installed here."""
    return [name for name in ("curl", "lftp", "sftp") if shutil.which(name) is None]


def fill(folder: Path) -> Path:
    """Fills the disk of a folder to its last byte with one file."""
    ballast = folder / ".ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * (1 << 16))
    return ballast
