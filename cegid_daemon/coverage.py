"""What became of the records of a message: sums, remarks, skipped lines. Frozen; the journal keeps it as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RemarkPlace:
    """Where a remark was met, and the text that caused it. Lines and records count from 1; 0 = unknown."""

    line: int = 0
    record: int = 0
    field: str = ""
    value: str = ""

    def __str__(self) -> str:
        parts = (f"line {self.line}" if self.line else "", f"record {self.record}" if self.record else "", self.field)
        where = ", ".join(filter(None, parts))
        return f"{where}: {self.value}" if where and self.value else where or self.value


@dataclass(frozen=True, slots=True)
class Remark:
    """What is odd in a received file but not wrong: how often, and the first places."""

    kind: str
    count: int
    places: tuple[RemarkPlace, ...] = ()

    def __str__(self) -> str:
        first = str(self.places[0]) if self.places else ""
        return f"{self.kind}: {self.count}" + (f" (first: {first})" if first else "")


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line of a received file that is no record: what it was taken for, and its text."""

    line: int
    taken_for: str  # "lead", "title row" or "trailer"
    text: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of each record: `read == sent + sum(left_out) + sum(rejected)`."""

    read: int = 0
    sent: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)  # reason -> records
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> records
    notes: Mapping[str, int] = field(default_factory=dict)  # e.g. "cut to 35: LIBELLE" -> values
    remarks: tuple[Remark, ...] = ()
    skipped: tuple[SkippedLine, ...] = ()  # the first of them
    encoding: str = ""  # what `encoding = "auto"` chose, and why

    @property
    def explained(self) -> bool:
        """Whether every record read is accounted for."""
        return self.read == self.sent + sum(self.left_out.values()) + sum(self.rejected.values())

    @property
    def remarked(self) -> int:
        """How many remarks there are."""
        return sum(remark.count for remark in self.remarks)

    def as_json(self) -> dict[str, Any]:
        """The coverage as plain values; of what it seldom holds, only what is there."""
        body: dict[str, Any] = {
            "read": self.read, "sent": self.sent, "left_out": dict(self.left_out), "rejected": dict(self.rejected),
            "notes": dict(self.notes),
        }  # fmt: skip
        if self.remarks:
            body["remarks"] = [asdict(remark) for remark in self.remarks]
        if self.skipped:
            body["skipped"] = [asdict(line) for line in self.skipped]
        if self.encoding:
            body["encoding"] = self.encoding
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Coverage:
        """The coverage behind `as_json`, of this version or an earlier one."""
        remarks = tuple(
            Remark(one["kind"], one["count"], tuple(RemarkPlace(**place) for place in one["places"]))
            for one in body.get("remarks", ())
        )
        skipped = tuple(SkippedLine(**one) for one in body.get("skipped", ()))
        return cls(**{**body, "remarks": remarks, "skipped": skipped})
