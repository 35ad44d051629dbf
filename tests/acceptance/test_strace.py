"""Power loss is more than a kill: the order of syncs, commits and renames of one message, as the kernel saw it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.acceptance.harness import Shop, rows

CALL = re.compile(r"\d+\s+(\w+)\((.*)\)\s+= (\d+)")
WATCHED = "trace=fsync,fdatasync,rename,renameat,renameat2"


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    """What a real file system does is the point here."""
    return disk_path


@pytest.mark.skipif(not shutil.which("strace") and not os.environ.get("CI"), reason="strace is not installed")
def test_nothing_is_renamed_or_called_done_before_what_it_rests_on_is_on_the_disk(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    assert shop.call("once").returncode == 0
    trace = tmp_path / "trace"
    with shop.run(prefix=["strace", "-f", "-y", "-s", "300", "-e", WATCHED, "-o", str(trace)]) as daemon:
        begin = trace.stat().st_size
        shop.drop("S.csv", rows("a"))
        daemon.wait_for(lambda: shop.states() == {"done": 1}, "done", 60)
        text = trace.read_text("utf-8", "replace")[begin:]
        os.kill(int((shop.folder / "var" / "lock").read_text()), signal.SIGTERM)  # strace keeps signals to itself
        daemon.process.wait(30)
    steps = [step for step in (named(shop, line) for line in text.splitlines()) if step]
    wanted = [
        "commit",  # claimed, rewritten and recorded
        "sync temporary", "sync out", "commit",  # uploaded
        "rename into out", "sync out", "commit",  # delivered, filing
        "rename into processed", {"sync in", "sync processed"}, {"sync in", "sync processed"}, "commit",  # done
    ]  # fmt: skip
    assert_in_order(steps, wanted)


def named(shop: Shop, line: str) -> str:
    """What a line of the trace means for us; blank if nothing."""
    found = CALL.search(line)
    if not found or found[3] != "0":
        return ""
    call, arguments = found[1], found[2]
    if call.startswith("rename"):
        return (
            "rename into out" if '"S.txt"' in arguments else "rename into processed" if '"S.csv"' in arguments else ""
        )
    path = arguments.partition("<")[2].rpartition(">")[0]
    if "journal.sqlite" in path:
        return "commit"
    if path.endswith(".part"):
        return "sync temporary"
    if path == str(shop.outbox):
        return "sync out"
    if path == str(shop.inbox):
        return "sync in"
    return "sync processed" if path.startswith(str(shop.inbox / "processed/")) else ""


def assert_in_order(steps: list[str], wanted: list[str | set[str]]) -> None:
    """Each wanted step comes after the one before it; renames and syncs between them only where they are wanted."""
    rest = list(steps)
    for one in wanted:
        choices = {one} if isinstance(one, str) else one
        while rest and rest[0] not in choices:
            assert not rest[0].startswith("rename"), f"{rest[0]} before {one}: {steps}"
            rest.pop(0)
        assert rest, f"no {one} in its place: {steps}"
        rest.pop(0)
