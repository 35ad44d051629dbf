"""Watches a process and all its children: memory they share is counted once (PSS), and time on the processor.

Owns reading /proc. Never starts or ends a process.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path

_EVERY = 0.05  # seconds between two looks at the memory
_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process and everything below it, the root first."""
    children = defaultdict(list)
    for place in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(place.name)):
            children[int(fields[1])].append(int(place.name))
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def memory(root: int) -> int:
    """Bytes of memory of the tree (proportional set size)."""
    return sum(_pss(pid) for pid in tree(root))


def cpu(root: int) -> float:
    """Seconds that the tree has spent on a processor, ended children included."""
    found = (_stat(pid) for pid in tree(root))
    return sum(sum(map(int, fields[11:15])) for fields in found if fields) / _TICKS


class Peak:
    """The largest memory of a tree while the `with` block runs, in `bytes`."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self.bytes = max(self.bytes, memory(self._root))


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
