"""A running daemon that mostly waits: from a drop to its delivery, and what a hundred idle routes cost."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import quantiles

from benchmarks import synthesis
from benchmarks.figures import MB, Figure
from benchmarks.installation import Installation, count, installed
from benchmarks.many import bare_loop
from benchmarks.processes import cpu, memory

_LOOK = 0.0005  # seconds between two looks for a delivered file
_PAUSE = 0.03  # seconds of rest before each drop
_WARM = 5  # drops before the counting begins
_SETTLED = 10  # seconds after its start until a daemon is called idle


def latency(scale: float) -> list[Figure]:
    """200 files of 40 rows, one after the other: from the rename into the inbox to the final name in the outbox."""
    drops = max(20, int(200 * scale))
    with installed("y2-stock-csv", store_buffer=2) as place:
        prepared = place.root / "prepared"
        synthesis.files(drops + _WARM, prepared)
        alone = bare_loop(prepared, place.root / "bare", batch=1) / (drops + _WARM) * 1000
        with place.running():
            taken = [_drop(place, path) for path in sorted(prepared.iterdir())][_WARM:]
    of_100 = quantiles(taken, n=100, method="inclusive")
    return [
        Figure("drop to delivered, median", of_100[49], "ms"),
        Figure("drop to delivered, 99 of 100", of_100[98], "ms", at_most=50),
        Figure("one file in the bare loop with the same syncs, mean", alone, "ms"),
    ]


def _drop(place: Installation, path: Path) -> float:
    """Milliseconds from the drop to the delivery; returns when the original is filed away too."""
    target = place.outbox / f"{path.stem}.xml"
    time.sleep(_PAUSE)
    begun = time.perf_counter()
    path.rename(place.inbox / path.name)
    place.wait(target.exists, 30, every=_LOOK)
    taken = time.perf_counter() - begun
    place.wait(lambda: count(place.inbox) == 0, 30, every=_LOOK)
    return taken * 1000


def idle(scale: float) -> list[Figure]:
    """A hundred routes with nothing to do."""
    seconds = max(10, 30 * scale)
    routes = [f"stock-{number}" for number in range(100)]
    with installed("y2-stock-csv", routes=routes) as place, place.running() as pid:
        time.sleep(_SETTLED)
        before = cpu(pid)
        time.sleep(seconds)
        share = (cpu(pid) - before) / seconds
        held = memory(pid)
    return [
        Figure("share of one core", share * 100, "%", at_most=1),
        Figure("memory of all processes (PSS)", held / MB, "MB", at_most=90),
    ]
