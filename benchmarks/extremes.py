"""What hardly ever happens, tried and told with figures: python -m benchmarks.extremes [NAME…].

A 2 GB file, 5 million rows, a journal of 3 GB, 50,000 files in a folder, 64 descriptors, bit flips in the journal, an
older backup put in its place. Every figure comes from the real command; nothing here is bounded in time.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import synthesis
from benchmarks.figures import MB, Figure, table
from benchmarks.installation import Installation, count, installed
from benchmarks.processes import Peak
from cegid_daemon.journal import Journal

_COMMAND = [sys.executable, "-m", "cegid_daemon"]
_BYTES_AN_ITEM = 154
_JOURNAL_CHUNK = 64 << 20


def large_file() -> list[Figure]:
    """A stock XML of 2 GB."""
    with installed(store_buffer=2) as place:
        source = place.inbox / "STOCK.xml"
        synthesis.stock_xml(2_000_000_000 // _BYTES_AN_ITEM, source)
        size = source.stat().st_size
        return [Figure("size", size / MB, "MB"), *_once(place), *_journal(place)]


def many_rows() -> list[Figure]:
    """A CSV of 5 million rows."""
    with installed("y2-stock-csv", store_buffer=2) as place:
        synthesis.stock_csv(5_000_000, place.inbox / "STOCK.csv")
        return [*_once(place), *_journal(place)]


def large_journal() -> list[Figure]:
    """A journal of 3 GB, payloads that no compression makes smaller."""
    with installed("y2-stock-csv", store_buffer=2) as place:
        place.call("once")
        journal = Journal.open(place.root / "var" / "journal.sqlite")
        while journal.connection.path.stat().st_size < 3_000 * MB:
            staged = journal.payloads.stage_bytes(os.urandom(1 << 20) for _ in range(_JOURNAL_CHUNK >> 20))
            with journal.connection.transaction():
                journal.payloads.seal(staged)
            journal.checkpoint()
        journal.close()
        synthesis.files(1, place.inbox)
        figures = [*_journal(place), *_once(place)]
        for words in (
            ["status"],
            ["log", "list"],
            ["log", "search", "STOCK00000"],
            ["check"],
            ["backup", "copy.sqlite"],
        ):
            begun = time.perf_counter()
            place.call(*words)
            figures.append(Figure(f"`{' '.join(words)}`", time.perf_counter() - begun, "s"))
        return figures


def many_files() -> list[Figure]:
    """50,000 files in a folder: taken, and lying there."""
    with installed("y2-stock-csv", store_buffer=2) as place:
        prepared = place.root / "prepared"
        synthesis.files(50_000, prepared)
        for path in prepared.iterdir():
            path.rename(place.inbox / path.name)
        taken = _once(place)
        delivered = count(place.outbox)
        for number in range(50_000):
            (place.inbox / f"foreign{number}.txt").touch()
        return [
            Figure("delivered", delivered, "files", at_least=50_000),
            *taken,
            *_once(place, "a pass over as many others"),
        ]


def few_descriptors() -> list[Figure]:
    """500 files with 64 file descriptors."""
    with installed("y2-stock-csv", store_buffer=2) as place:
        synthesis.files(500, place.inbox)
        process = subprocess.Popen(
            [*_COMMAND, "once"], cwd=place.root, stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),  # noqa: PLW1509
        )  # fmt: skip
        _, said = process.communicate()
        return [
            Figure("delivered", count(place.outbox), "files", at_least=500),
            Figure("exit code", process.returncode, "", at_most=0),
            Figure("lines on stderr", len(said.splitlines()), "", at_most=0),
        ]


def bit_flips() -> list[Figure]:
    """Bits flipped in six pages that are read; counts what was said of them and what was not."""
    chance = random.Random(20261127)
    with installed("y2-stock-csv", store_buffer=2) as place:
        synthesis.files(200, place.inbox)
        place.call("once")
        journal = place.root / "var" / "journal.sqlite"
        whole = journal.read_bytes()
        told = wrong = 0
        for page in _pages_that_are_read(journal, chance, 6):
            flipped = bytearray(whole)
            flipped[page * 8192 + chance.randrange(8, 64)] ^= 1 << chance.randrange(8)
            journal.write_bytes(flipped)
            synthesis.files(201, place.root / "more")
            shutil.copyfile(place.root / "more" / "STOCK00200.csv", place.inbox / "NEXT.csv")
            done = subprocess.run([*_COMMAND, "once"], cwd=place.root, capture_output=True, text=True, check=False)
            if done.returncode and "journal" in done.stderr:
                told += 1
            elif done.returncode or not (place.outbox / "NEXT.xml").exists():
                wrong += 1
            for name in ("journal.sqlite-wal", "journal.sqlite-shm"):
                (journal.parent / name).unlink(missing_ok=True)
            (place.outbox / "NEXT.xml").unlink(missing_ok=True)
            journal.write_bytes(whole)
        return [
            Figure("flips told as damage, nothing done", told, ""),
            Figure("flips that harmed nothing", 6 - told - wrong, ""),
            Figure("flips with another end", wrong, "", at_most=0),
        ]


def older_backup() -> list[Figure]:
    """A backup of yesterday put in the place of today's journal."""
    with installed("y2-stock-csv", store_buffer=2) as place:
        synthesis.files(3, place.inbox)
        place.call("once")
        place.call("backup", "copy.sqlite")
        synthesis.files(6, place.inbox)
        place.call("once")
        state = place.root / "var"
        for name in ("journal.sqlite-wal", "journal.sqlite-shm"):
            (state / name).unlink(missing_ok=True)
        shutil.copyfile(place.root / "copy.sqlite", state / "journal.sqlite")
        synthesis.files(7, place.root / "more")
        shutil.copyfile(place.root / "more" / "STOCK00006.csv", place.inbox / "NEXT.csv")
        done = subprocess.run([*_COMMAND, "once"], cwd=place.root, capture_output=True, text=True, check=False)
        status = subprocess.run([*_COMMAND, "status"], cwd=place.root, capture_output=True, text=True, check=False)
        sys.stdout.write("".join(f"    {line}\n" for line in status.stdout.splitlines() if "notice" in line))
        return [
            Figure("the next file is delivered", float((place.outbox / "NEXT.xml").exists()), "", at_least=1),
            Figure("notices in `status`", status.stdout.count("notice"), "", at_least=1),
            Figure("exit code of `once`", done.returncode, ""),
        ]


EXTREMES: dict[str, Callable[[], list[Figure]]] = {
    "large-file": large_file,
    "many-rows": many_rows,
    "large-journal": large_journal,
    "many-files": many_files,
    "few-descriptors": few_descriptors,
    "bit-flips": bit_flips,
    "older-backup": older_backup,
}


def _once(place: Installation, what: str = "once") -> list[Figure]:
    begun = time.perf_counter()
    process = place.start("once")
    with Peak(process.pid) as peak:
        place.expect(process.wait() == 0, "once")
    seconds = time.perf_counter() - begun
    return [Figure(f"{what}: wall time", seconds, "s"), Figure(f"{what}: peak memory (PSS)", peak.bytes / MB, "MB")]


def _journal(place: Installation) -> list[Figure]:
    return [Figure("size of the journal", (place.root / "var" / "journal.sqlite").stat().st_size / MB, "MB")]


def _pages_that_are_read(journal: Path, chance: random.Random, number: int) -> list[int]:
    """Pages of tables that each pass reads."""
    with closing(sqlite3.connect(journal)) as db:
        roots = [
            row[0] - 1
            for row in db.execute(
                "SELECT rootpage FROM sqlite_master WHERE rootpage > 1 AND (tbl_name IN "
                "('message', 'source', 'delivery', 'part', 'setting', 'about', 'payload', 'recipe'))"
            )
        ]
    return chance.sample(roots, number)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extremes", description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="*", choices=[*EXTREMES, []], help="all without one")
    chosen = parser.parse_args()
    met = True
    for name in chosen.name or EXTREMES:
        begun = datetime.now(UTC)
        figures = EXTREMES[name]()
        met &= all(one.met for one in figures)
        seconds = (datetime.now(UTC) - begun).total_seconds()
        sys.stdout.write(f"{name}: {EXTREMES[name].__doc__} ({seconds:.0f} s in all)\n{table(figures)}\n")
        sys.stdout.flush()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
