"""What befalls the daemon and everything around it: kills, cuts, stalls, reloads, clock steps, full disks."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.acceptance.harness import HERE, environment
from tests.servers.places import Server
from tests.servers.proxy import Line
from tests.soak.senders import fill

LINE_TIMEOUT_SECONDS = 1.0  # of the endpoints; stalls last longer


class Trouble(threading.Thread):
    """Does something bad again and again, with pauses."""

    def __init__(self, name: str, chance: random.Random, counts: Counter[str], pauses: tuple[float, float]) -> None:
        super().__init__(name=name)
        self.chance = chance
        self.counts = counts
        self._pauses = pauses
        self.end = threading.Event()

    def stop(self) -> None:
        """Ends, with everything put right again."""
        self.end.set()
        self.join()
        self.heal()

    def run(self) -> None:
        while not self.end.wait(self.chance.uniform(*self._pauses)):
            self.act()

    def act(self) -> None:
        """Does it once."""
        raise NotImplementedError

    def heal(self) -> None:
        """Puts right what may still be wrong."""


class LineTrouble(Trouble):
    """Cuts a line within the next bytes, stalls it beyond the time-out, delays it, kills the server behind it."""

    def __init__(
        self, name: str, line: Line, server: Server, chance: random.Random, counts: Counter[str],
        pauses: tuple[float, float],
    ) -> None:  # fmt: skip
        super().__init__(f"trouble of {name}", chance, counts, pauses)
        self._line = line
        self._server = server

    def act(self) -> None:
        what = self.chance.choices([self._cut, self._stall, self._delay, self._kill], [60, 20, 10, 4])[0]
        what()

    def _cut(self) -> None:
        bytes_left = int(10 ** self.chance.uniform(1, 5))
        passed = self._line.passed_up + self._line.passed_down
        if self.chance.random() < 0.5:
            self._line.cut_up = self._line.passed_up + bytes_left
        else:
            self._line.cut_down = self._line.passed_down + bytes_left
        until = time.monotonic() + 0.4
        while time.monotonic() < until and self._line.passed_up + self._line.passed_down < passed + bytes_left:
            self.end.wait(0.02)
        self._line.heal()
        self._line.cut()
        self.counts["cuts"] += 1

    def _stall(self) -> None:
        self._line.stalled = True
        self.end.wait(LINE_TIMEOUT_SECONDS * self.chance.uniform(1.2, 2.5))
        self._line.heal()
        self.counts["stalls beyond the time-out"] += 1

    def _delay(self) -> None:
        self._line.delay = self.chance.uniform(0.005, 0.1)
        self.end.wait(self.chance.uniform(0.2, 1.0))
        self._line.delay = 0.0
        self.counts["delays"] += 1

    def _kill(self) -> None:
        self._server.kill()
        self._line.cut()
        self.end.wait(self.chance.uniform(0.05, 0.3))
        self._server.start()
        self.counts["server kills"] += 1

    def heal(self) -> None:
        self._line.delay = 0.0
        self._line.heal()


class ClockTrouble(Trouble):
    """Sets the daemon's clock back and ahead, by seconds to days; at the end it is right again."""

    STEPS = (-86_400, -7_200, -60, -3, 3, 60, 7_200, 86_400)

    def __init__(self, offset_file: Path, chance: random.Random, counts: Counter[str]) -> None:
        super().__init__("clock", chance, counts, (4, 9))
        self._file = offset_file
        self.heal()

    def act(self) -> None:
        self._file.write_text(f"{self.chance.choice(self.STEPS):+d}\n")
        self.end.wait(self.chance.uniform(2, 5))
        self.heal()
        self.counts["clock steps"] += 2

    def heal(self) -> None:
        self._file.write_text("+0\n")


class DiskTrouble(Trouble):
    """Fills a small disk for a moment."""

    def __init__(self, folder: Path, chance: random.Random, counts: Counter[str]) -> None:
        super().__init__("disk", chance, counts, (3, 8))
        self._folder = folder

    def act(self) -> None:
        ballast = fill(self._folder)
        self.end.wait(self.chance.uniform(0.3, 1.5))
        ballast.unlink(missing_ok=True)
        self.counts["full disks"] += 1


class DaemonRunner:
    """Starts the daemon again and again as forks of one process that has imported it (`tests/acceptance/zygote.py`)."""

    def __init__(self, configuration: Path, counts: Counter[str], more: Mapping[str, str]) -> None:
        self.log = configuration.with_name("daemon.log")
        self._output = self.log.open("ab")
        self._counts = counts
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), str(configuration)], cwd=configuration.parent,
            env=environment(**more), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._output,
        )  # fmt: skip
        self.starts = 0

    def close(self) -> None:
        """Ends the process that forks."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._output.close()

    def run(self, seconds: float, chance: random.Random, ending: int) -> int:
        """One life of the daemon, ended by the signal `ending`; with a reload or two in between. Its exit status."""
        assert self._process.stdin and self._process.stdout
        size = self.log.stat().st_size
        self._process.stdin.write(b"0\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        self.starts += 1
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._ended(min(left, chance.uniform(0.3, 3.0))):
                break
            if chance.random() < 0.2 and self._is_ready(size):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)
                    self._counts["reloads"] += 1
        with suppress(ProcessLookupError):
            os.kill(pid, ending)
        self._counts["SIGKILLs" if ending == signal.SIGKILL else "orderly stops"] += 1
        return int(self._process.stdout.readline())

    def run_until(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """A quiet life until everything is done; whether it was within `seconds`."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(b"0\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        until = time.monotonic() + seconds
        while not (done := is_done()) and time.monotonic() < until and not self._ended(0.2):
            pass
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        self._process.stdout.readline()
        return done

    def _ended(self, seconds: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def _is_ready(self, size: int) -> bool:
        with self.log.open("rb") as log:
            log.seek(size)
            return b"Ready." in log.read()
