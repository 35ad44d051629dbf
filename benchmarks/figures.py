"""A measured figure beside its bound, and the table of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured; `at_most` or `at_least` is what it is wanted to be, None where it is there to compare."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is as wanted."""
        low, high = self.at_least, self.at_most
        return (high is None or self.value <= high) and (low is None or self.value >= low)


def table(figures: Iterable[Figure]) -> str:
    """A line a figure."""
    return "\n".join(map(_line, figures))


def _line(figure: Figure) -> str:
    wanted = "" if figure.at_most is None else f"at most {figure.at_most:g}"
    wanted = wanted if figure.at_least is None else f"at least {figure.at_least:g}"
    missed = "" if figure.met else "  MISSED"
    return f"  {figure.name:<58} {figure.value:>9.3g} {figure.unit:<8} {wanted}{missed}".rstrip()
