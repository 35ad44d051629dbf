"""The count of what became of each record while a file is rewritten; it ends as a `Coverage`.

Owns the counters and the reasons the reading half gives. Never decides what is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cegid_daemon.model import Coverage

NO_KEY = "no key"
SUMMED = "summed into one record"


@dataclass(slots=True)
class Tally:
    """Counts while a file is rewritten: `read` by the layout, `left_out` by skip, key and sum, `sent` by the output."""

    read: int = 0
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, counted: Coverage) -> None:
        """Adds what was counted elsewhere."""
        self.read += counted.read
        self.sent += counted.sent
        self.left_out.update(counted.left_out)
        self.rejected.update(counted.rejected)
        self.notes.update(counted.notes)

    def coverage(self) -> Coverage:
        """What was counted, frozen; reasons that never applied are not listed."""
        return Coverage(self.read, self.sent, _seen(self.left_out), _seen(self.rejected), _seen(self.notes))


def _seen(counter: Counter[str]) -> dict[str, int]:
    return {reason: times for reason, times in counter.items() if times}
