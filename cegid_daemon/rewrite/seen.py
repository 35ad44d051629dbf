"""What templates see of a message and of the file it came as."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """`message` in a template."""

    id: int
    name: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """`source` in a template: the received file. `stem` and `suffix` (with its point) make up `name`."""

    name: str
    stem: str
    suffix: str
    folder: str
