"""Large files: 500,000 items beside xsltproc, a million SKUs with and without a buffer each.

The real `once` from an empty journal to the file filed away: read, hashed, kept, buffered, rewritten, checked, kept
again, delivered. xsltproc only rewrites.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import synthesis
from benchmarks.figures import MB, Figure
from benchmarks.installation import Installation, installed
from benchmarks.processes import Peak

STYLESHEET = Path(__file__).with_name("bare.xsl")


@dataclass(frozen=True, slots=True)
class Run:
    """What one process tree took."""

    seconds: float
    peak: int  # bytes


def beside_xsltproc(scale: float) -> list[Figure]:
    """500,000 items, 77 MB."""
    items = int(500_000 * scale)
    with installed(store_buffer=2) as place:
        source = place.root / "STOCK.xml"
        synthesis.stock_xml(items, source)
        rewrites_alike()
        bare, ours = _in_turn(lambda: _xsltproc(source, place.root / "bare.xml"), lambda: _once(place, source))
    return [
        Figure("wall time, of what xsltproc takes for the bare rewriting", ours.seconds / bare.seconds, "×", at_most=1),
        Figure("wall time", ours.seconds, "s"),
        Figure("wall time of xsltproc", bare.seconds, "s"),
        Figure("peak memory of all processes (PSS)", ours.peak / MB, "MB", at_most=120),
        Figure("peak memory of xsltproc (PSS)", bare.peak / MB, "MB"),
    ]


def million(scale: float) -> list[Figure]:
    """A million SKUs without any buffer, then with one each."""
    items = int(1_000_000 * scale)
    with installed() as bare, installed() as stocked:
        source = bare.root / "STOCK.xml"
        synthesis.stock_xml(items, source)
        synthesis.buffers_csv(items, stocked.root / "buffers.csv")
        begun = time.perf_counter()
        stocked.call("buffers", "import", "buffers.csv")
        imported = time.perf_counter() - begun
        plain, buffered = _in_turn(lambda: _once(bare, source), lambda: _once(stocked, source))
        made = (bare.outbox / source.name).stat().st_size
    return [
        Figure("wall time with a buffer each, of that without", buffered.seconds / plain.seconds, "×", at_most=1.2),
        Figure("wall time without buffers", plain.seconds, "s"),
        Figure("wall time with buffers", buffered.seconds, "s"),
        Figure("peak memory of all processes (PSS), without", plain.peak / MB, "MB", at_most=200),
        Figure("peak memory of all processes (PSS), with", buffered.peak / MB, "MB", at_most=200),
        Figure("size of what is delivered", made / MB, "MB"),
        Figure("importing the buffers", imported, "s"),
    ]


def rewrites_alike() -> None:
    """Proves on a smaller file that the stylesheet makes what the daemon makes."""
    with installed() as place:
        source = place.root / "STOCK.xml"
        synthesis.stock_xml(10_000, source)  # as large as is read in a second process
        _once(place, source)
        _xsltproc(source, place.root / "bare.xml")
        alike = (place.root / "bare.xml").read_bytes() == (place.outbox / source.name).read_bytes()
        place.expect(alike, "comparing with xsltproc's output")


def _in_turn(one: Callable[[], Run], other: Callable[[], Run], times: int = 2) -> tuple[Run, Run]:
    """The best of a few runs of each, one after the other in turn, so that a slow minute meets both."""
    runs = [(one(), other()) for _ in range(times)]
    return _best([first for first, _ in runs]), _best([second for _, second in runs])


def _best(runs: Sequence[Run]) -> Run:
    """The shortest time, and the most memory of all."""
    return Run(min(run.seconds for run in runs), max(run.peak for run in runs))


def _once(place: Installation, source: Path) -> Run:
    """`once` on a copy of the source, dropped before."""
    shutil.copyfile(source, place.inbox / source.name)
    (place.outbox / source.name).unlink(missing_ok=True)
    run = _measured(place.start("once"))
    place.expect((place.outbox / source.name).exists(), "cegid-daemon once")
    return run


def _xsltproc(source: Path, target: Path) -> Run:
    return _measured(subprocess.Popen(["xsltproc", "-o", str(target), str(STYLESHEET), str(source)]))


def _measured(process: subprocess.Popen[bytes]) -> Run:
    begun = time.perf_counter()
    with Peak(process.pid) as peak:
        if process.wait() != 0:
            raise RuntimeError(f"{process.args!r} failed")
        seconds = time.perf_counter() - begun
    return Run(seconds, peak.bytes)
