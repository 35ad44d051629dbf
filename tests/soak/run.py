"""One soak: a storm of a given length, then calm until everything has arrived, then the verdict."""

from __future__ import annotations

import random
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.chaos import ClockTrouble, DaemonRunner, DiskTrouble, LineTrouble, Trouble
from tests.soak.oracle import Verdict
from tests.soak.senders import ClientSender
from tests.soak.world import World, world

_CALM_SECONDS = 300.0  # at most, until everything has arrived
_LAST_RUNS = 5
_SLEEP = re.compile(r"time\.sleep\(|self\._rest\(")
_FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
)


@dataclass
class Report:
    """What a soak came to."""

    seed: int
    seconds: float
    counts: Counter[str]
    verdicts: dict[str, Verdict]
    faults: list[str] = field(default_factory=list)  # what else must not be
    left_out: list[str] = field(default_factory=list)  # what could not be tried on this machine

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults and all(verdict.ok for verdict in self.verdicts.values())

    def __str__(self) -> str:
        total = [
            f"{sum(len(getattr(one, name)) for one in self.verdicts.values())} {name.replace('_', ' ')}"
            for name in ("lost", "doubled", "half", "out_of_order")
        ]
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s",
            "befell: " + ", ".join(f"{number} {name}" for name, number in sorted(self.counts.items())),
            *(f"lane {name}: {verdict}" for name, verdict in self.verdicts.items()),
            *(f"fault: {fault}" for fault in self.faults),
            *(f"not tried: {what}" for what in self.left_out),
            f"{'OK' if self.ok else 'FAILED'}: {', '.join(total)}",
        ]
        return "\n".join(lines)


def soak(folder: Path, seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Runs a storm of `seconds` in `folder`, then waits for calm; `say` hears how it goes."""
    chance = random.Random(seed)
    began = time.monotonic()
    with world(folder, chance) as around:
        left_out: list[str] = []
        troubles, environment = _troubles(around, chance, left_out)
        with ExitStack() as ending:
            runner = DaemonRunner(around.configuration, around.counts, environment)
            ending.callback(runner.close)
            for thread in around.receivers:
                thread.start()
                ending.callback(thread.stop)
            with ExitStack() as storm_ending:
                for one in (*around.senders, *troubles, around.faults):
                    one.start()
                    storm_ending.callback(one.stop)
                _storm(runner, chance, seconds, say, around)
            _count_clients(around)
            calm = runner.run_until(lambda: _is_done(around), _CALM_SECONDS)
            for _ in range(_LAST_RUNS):  # a poll may begin a message between the last look and the daemon's end
                if _open_messages(around.folder):
                    runner.run_until(lambda: not _open_messages(around.folder), _CALM_SECONDS)
        around.collect_api()
        verdicts = {name: lane.verdict() for name, lane in around.lanes.items()}
        report = Report(seed, time.monotonic() - began, around.counts, verdicts, left_out=left_out)
        if not calm:
            report.faults.append(f"not everything was done {_CALM_SECONDS:.0f} s after the storm")
        report.faults += _what_must_not_be(around, runner)
    return report


def _troubles(around: World, chance: random.Random, left_out: list[str]) -> tuple[list[Trouble], dict[str, str]]:
    def seeded() -> random.Random:
        return random.Random(chance.random())

    troubles: list[Trouble] = [
        LineTrouble(kind, site.line, site.server, seeded(), around.counts, (0.1, 2.6))
        for kind, site in around.sites.items()
    ]
    if around.small_disk is not None:
        troubles.append(DiskTrouble(around.small_disk, seeded(), around.counts))
    else:
        left_out.append("full disks (mounting is not allowed here)")
    library = next((path for path in _FAKETIME if Path(path).exists()), None)
    if library is None:
        left_out.append("clock steps (libfaketime is not installed)")
        return troubles, {}
    offset = around.folder / "clock-offset"
    troubles.append(ClockTrouble(offset, seeded(), around.counts))
    return troubles, {
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
    }  # fmt: skip


def _count_clients(around: World) -> None:
    for sender in around.senders:
        if isinstance(sender, ClientSender):
            around.counts.update({f"uploads refused ({name})": count for name, count in sender.refused.items()})
    clients = next(sender for sender in around.senders if isinstance(sender, ClientSender))
    around.counts.update(clients.kills)


def _storm(
    runner: DaemonRunner, chance: random.Random, seconds: float, say: Callable[[str], None], around: World
) -> None:
    until, told = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < until:
        life = chance.choice([chance.uniform(0.3, 1.2), chance.uniform(0.8, 2.5), chance.uniform(2.0, 6.0)])
        ending = signal.SIGKILL if chance.random() < 0.9 else signal.SIGTERM
        runner.run(min(life, max(0.1, until - time.monotonic())), chance, ending)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            arrived = sum(lane.verdict().arrived for lane in around.lanes.values())
            say(f"{until - told:.0f} s to go, {arrived} files arrived, {around.counts['SIGKILLs']} SIGKILLs")


def _is_done(around: World) -> bool:
    around.collect_api()
    if any(lane.missing() for lane in around.lanes.values()):
        return False
    return not _open_messages(around.folder) and not _pending(around)


def _pending(around: World) -> list[str]:
    folders = [path for path in (around.folder / "inbox").iterdir() if path.is_dir()]
    folders += [site.place.root / "in" for site in around.sites.values()]
    return [str(path) for folder in folders for path in folder.glob("*.csv")]


def _open_messages(folder: Path) -> list[tuple[object, ...]]:
    return _query(folder, "SELECT id, route, file_name, state, error FROM message WHERE closed_at IS NULL LIMIT 20")


def _query(folder: Path, sql: str) -> list[tuple[object, ...]]:
    journal = folder / "var" / "journal.sqlite"
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=20)) as db:
        return db.execute(sql).fetchall()


def _tracebacks(log: str) -> list[str]:
    """The tracebacks of a log but one kind: libfaketime gives the kernel sleeps that it refuses (EINVAL)."""
    found = [match[0] for match in re.finditer(r"^ *Traceback.*\n(?:  .*\n)+", log, re.MULTILINE)]
    return [one for one in found if not ("[Errno 22]" in one and _SLEEP.search(one))]


def _what_must_not_be(around: World, runner: DaemonRunner) -> list[str]:
    faults = [f"still open: {row}" for row in _open_messages(around.folder)]
    wrong = _query(
        around.folder, "SELECT id, route, file_name, state, error FROM message WHERE state NOT IN ('done', 'discarded')"
    )
    faults += [f"not done: {row}" for row in wrong[:20]]
    faults += [f"left in a source folder: {path}" for path in _pending(around)[:20]]
    spool = around.folder / "var" / "spool"
    faults += [f"left in the spool: {name}" for name in sorted(path.name for path in spool.iterdir())[:20]]
    places = [*(around.folder / "outbox").iterdir(), *(site.place.root / "out" for site in around.sites.values())]
    faults += [f"left at a target: {path}" for folder in places for path in list(folder.iterdir())[:20]]
    text = runner.log.read_text("utf-8", "replace")
    if tracebacks := _tracebacks(text):
        faults.append(f"{len(tracebacks)} tracebacks in {runner.log}, the first:\n{tracebacks[0]}")
    check = _query(around.folder, "PRAGMA integrity_check(1)")
    faults += [f"journal: {row[0]}" for row in check if row[0] != "ok"]
    return faults
