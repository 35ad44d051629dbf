"""What was sent and what arrived, counted by the test itself: nothing here reads the journal.

Every file bears a number of its lane and says how many rows it has, so that each body that arrives tells whether it is
whole, whether it came before, and whether a later one came first.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


def make_body(number: int, row_count: int) -> bytes:
    """A file of the layout `rows`: `row_count` rows that all bear the file's number and the count."""
    rows = (f"{number}.{row_count};{row}\n" for row in range(row_count))
    return "".join(["ID;N\n", *rows]).encode()


def read_body(body: bytes) -> tuple[int, bool]:
    """The number of the file that a delivered body was made of, and whether the body is whole. -1: not even a row."""
    lines = body.decode("utf-8", "replace").splitlines()
    ids = {line.partition(";")[0] for line in lines}
    number, _, row_count = next(iter(ids), "").partition(".")
    if len(ids) != 1 or not number.isdigit() or not row_count.isdigit():
        return -1, False
    expected = [f"{number}.{row_count};{row}" for row in range(int(row_count))]
    return int(number), lines == expected and body.endswith(b"\n")


@dataclass
class Verdict:
    """The counts of one lane; all but `sent` and `arrived` must be 0."""

    sent: int = 0
    arrived: int = 0
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    half: list[int] = field(default_factory=list)
    out_of_order: list[int] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.half or self.out_of_order)

    def __str__(self) -> str:
        faults = ("lost", "doubled", "half", "out_of_order")
        shown = {name: getattr(self, name) for name in faults}
        counts = ", ".join(f"{len(numbers)} {name.replace('_', ' ')}" for name, numbers in shown.items())
        examples = "; ".join(f"{name}: {numbers[:10]}" for name, numbers in shown.items() if numbers)
        return f"{self.sent} sent, {self.arrived} arrived, {counts}" + (f" ({examples})" if examples else "")


class Lane:
    """One way from a sender to a receiver. May be used from several threads."""

    def __init__(self, name: str, *, ordered: bool = True) -> None:
        self.name = name
        self._ordered = ordered
        self._lock = threading.Lock()
        self._next = 0
        self._sent: set[int] = set()  # must arrive
        self._doubtful: set[int] = set()  # the client died: it may arrive, whole
        self._arrived: list[tuple[int, bool]] = []

    def next_number(self) -> int:
        """A number for the next file; it counts as doubtful until `sent` says more."""
        with self._lock:
            self._next += 1
            self._doubtful.add(self._next)
            return self._next

    def sent(self, number: int) -> None:
        """The sender knows that this file was taken: it must arrive."""
        with self._lock:
            self._doubtful.discard(number)
            self._sent.add(number)

    def not_sent(self, number: int) -> None:
        """This file never left the sender, and must not arrive."""
        with self._lock:
            self._doubtful.discard(number)

    def arrived(self, number: int, *, whole: bool) -> None:
        """A file arrived."""
        with self._lock:
            self._arrived.append((number, whole))

    def missing(self) -> int:
        """How many files that must arrive have not."""
        with self._lock:
            return len(self._sent - {number for number, _ in self._arrived})

    def verdict(self) -> Verdict:
        """The counts so far."""
        with self._lock:
            arrivals = list(self._arrived)
            numbers = [number for number, _ in arrivals]
            highest, late = 0, []
            for number in numbers:
                if number < highest:
                    late.append(number)
                highest = max(highest, number)
            strangers = [number for number in numbers if number not in self._sent and number not in self._doubtful]
            return Verdict(
                sent=len(self._sent),
                arrived=len(arrivals),
                lost=sorted(self._sent - set(numbers)),
                doubled=sorted(number for number, times in Counter(numbers).items() if times > 1) + strangers,
                half=[number for number, whole in arrivals if not whole],
                out_of_order=late if self._ordered else [],
            )


class FolderReceiver(threading.Thread):
    """Takes each file out of a folder the moment it can be seen, and tells its lane."""

    def __init__(self, folder: Path, lane: Lane, read: Callable[[bytes], Iterable[tuple[int, bool]]]) -> None:
        super().__init__(name=f"receiver of {lane.name}")
        self._folder = folder
        self._lane = lane
        self._read = read
        self._end = threading.Event()

    def stop(self) -> None:
        """Ends, after one last look."""
        self._end.set()
        self.join()
        self._take()

    def run(self) -> None:
        while not self._end.wait(0.005):
            with suppress(OSError):  # a small disk that is being filled, a folder not made yet
                self._take()

    def _take(self) -> None:
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith("."):
                continue
            away = path.with_name(f".received-{path.name}")
            with suppress(FileNotFoundError):
                path.rename(away)
                body = away.read_bytes()
                away.unlink()
                for number, whole in self._read(body):
                    self._lane.arrived(number, whole=whole)


def one_file(body: bytes) -> list[tuple[int, bool]]:
    """For `FolderReceiver`: a body that was made of one file."""
    return [read_body(body)]
