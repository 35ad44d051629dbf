"""Which fields are masked: the names in `redact`, and how a value becomes stars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STAR = "*"


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of `redact`: columns, fields and elements, and attributes (`@name`) apart.

    Of a path (`Customer/Email`) and of a full name (`{uri}Email`) the last local name counts, wherever it stands:
    masking too much is the safe side.
    """

    names: frozenset[str]
    attributes: frozenset[str]

    @classmethod
    def of(cls, redact: Iterable[str]) -> Fields:
        """The fields behind the texts of the configuration."""
        local = [text.rpartition("/")[2].rpartition("}")[2].strip() for text in redact]
        return cls(
            frozenset(name for name in local if name and not name.startswith("@")),
            frozenset(name[1:].rpartition(":")[2] for name in local if name.startswith("@")),
        )

    def masks(self, path: str) -> bool:
        """Whether the field at a path (`Customer/Email[2]`, `Customer/@id`) is masked, or stands in one that is."""
        return any(self.holds(step.partition("[")[0].rpartition("}")[2].strip()) for step in path.split("/"))

    def holds(self, name: str) -> bool:
        """Whether a field of this name, `@name` for an attribute, is masked."""
        return name[1:] in self.attributes if name.startswith("@") else name in self.names


def starred(text: str) -> str:
    """The text with everything but the blanks around it as stars, one for each character."""
    core = text.strip()
    if not core:
        return text
    start = text.index(core)
    return text[:start] + STAR * len(core) + text[start + len(core) :]
