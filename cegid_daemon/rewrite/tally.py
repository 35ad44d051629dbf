"""The count of what became of each record while a file is rewritten; it ends as a `Coverage`.

Owns the counters and the reasons the reading half gives. Never decides what is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cegid_daemon.coverage import Coverage, SkippedLine
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.remarks import NO_NUMBER, REPEATED_TITLES, Remarks, shortened

MOST_SKIPPED = 10  # lines whose text is kept
LONGEST_LINE = 200  # characters of it

NO_KEY = "no key"
TITLES = "title row repeated"
SUMMED = "summed into one record"


@dataclass(slots=True)
class Tally:
    """Counts while a file is rewritten: `read` by the layout, `left_out` by skip, key and sum, `sent` by the output."""

    read: int = 0
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    remarks: Remarks = field(default_factory=Remarks)
    skipped: list[SkippedLine] = field(default_factory=list)
    encoding: str = ""

    def skip(self, line: int, taken_for: str, text: str) -> None:
        """A line is no record; the first ones are kept for people to see."""
        if len(self.skipped) < MOST_SKIPPED:
            self.skipped.append(SkippedLine(line, taken_for, shortened(text, LONGEST_LINE)))

    def repeat_titles(self, record: Record, text: str) -> None:
        """The title row stands in the data again: it is left out, and remarked on."""
        self.read = record.number
        self.left_out[TITLES] += 1
        self.remarks.add(REPEATED_TITLES, line=record.line, record=record.number, value=text)

    def no_number(self, field: str, text: str) -> None:
        """A template took a text for 0."""
        self.remarks.add(NO_NUMBER, field=field, value=text)

    def add(self, counted: Coverage) -> None:
        """Adds what was counted elsewhere."""
        self.read += counted.read
        self.sent += counted.sent
        self.left_out.update(counted.left_out)
        self.rejected.update(counted.rejected)
        self.notes.update(counted.notes)
        self.remarks.merge(counted.remarks)
        self.skipped.extend(counted.skipped[: MOST_SKIPPED - len(self.skipped)])
        self.encoding = self.encoding or counted.encoding

    def coverage(self) -> Coverage:
        """What was counted, frozen; reasons that never applied are not listed."""
        return Coverage(
            self.read, self.sent, _seen(self.left_out), _seen(self.rejected), _seen(self.notes),
            self.remarks.all(), tuple(self.skipped), self.encoding,
        )  # fmt: skip


def _seen(counter: Counter[str]) -> dict[str, int]:
    return {reason: times for reason, times in counter.items() if times}
