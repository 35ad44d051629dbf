"""What an answer of the API says of an envelope: values, and how a refusal is written down and read again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

KEYS = ("VariationReference", "OrderID", "ProductReference", "VariationEAN", "ProductEAN", "CustomerID")
_WRITTEN = re.compile(rf"RequestID (?P<id>.*?)(?:, (?P<name>{'|'.join(KEYS)}) (?P<key>.*?))?: (?P<reason>.*)", re.S)


@dataclass(frozen=True, slots=True)
class Key:
    """What a request is about: `VariationReference` and its text. Blank: it names nothing we know."""

    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was refused."""

    request_id: str
    key: Key
    reason: str

    def __str__(self) -> str:
        about = f", {self.key.name} {self.key.value}" if self.key.name else ""
        return f"RequestID {self.request_id}{about}: {self.reason}"

    def masked(self, mask: Callable[[str], str]) -> Refusal:
        """The same without what may not be shown."""
        return Refusal(mask(self.request_id), Key(self.key.name, mask(self.key.value)), mask(self.reason))

    @classmethod
    def read(cls, text: str) -> Refusal | None:
        """The refusal that was written down as this text; None: it is none. A key ends at the first `: `."""
        found = _WRITTEN.fullmatch(text)
        return cls(found["id"], Key(found["name"] or "", found["key"] or ""), found["reason"]) if found else None


@dataclass(slots=True)
class Verdict:
    """What an answer says of an envelope."""

    sent: int = 0  # requests in the envelope
    accepted: int = 0
    refusals: list[Refusal] = field(default_factory=list)  # of requests of the envelope, one each
    strays: list[Refusal] = field(default_factory=list)  # said of none of them: another id, or only a count
    reports: dict[str, None] = field(default_factory=dict)  # what to ask for later, in order
    deferred: int = 0
    refused_whole: str = ""  # why the envelope as a whole was refused

    @property
    def reasons(self) -> Mapping[str, int]:
        """How often each reason was given for requests of the envelope."""
        if self.refused_whole:
            return {self.refused_whole: self.sent}
        return Counter(refusal.reason for refusal in self.refusals)

    @property
    def refused(self) -> int:
        """How many requests were refused, strays among them."""
        return self.sent if self.refused_whole else len(self.refusals) + len(self.strays)

    @property
    def requests(self) -> int:
        """How many requests the answer speaks of: those that were sent, and strays."""
        return max(self.sent, self.accepted + self.deferred + self.refused)

    def mask(self, mask: Callable[[str], str]) -> None:
        """Takes out of its words, which may repeat what was sent, what may not be shown."""
        self.refused_whole = mask(self.refused_whole)
        self.refusals = [one.masked(mask) for one in self.refusals]
        self.strays = [one.masked(mask) for one in self.strays]

    @property
    def is_final(self) -> bool:
        """Whether it says something, and defers nothing."""
        return not self.deferred and bool(self.accepted or self.refused)

    @property
    def nothing_accepted(self) -> bool:
        """Whether the API wants nothing of it."""
        return bool(self.refused) and not self.accepted and not self.deferred
