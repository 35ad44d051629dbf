"""Plots as plain SVG rectangles, drawn here: no script and no style is needed to see them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.console.rendering import amount, took

WIDTH, HEIGHT = 288, 72  # of the drawing, in its own units
_GAP = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, with the words for hover and screen readers."""

    x: int
    y: float
    width: int
    height: float
    start: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A row of bars. `now` is the newest value in words, `most` the largest."""

    title: str
    kind: str
    bars: Sequence[Bar]
    total: str
    most: str
    empty: bool
    ticks: Sequence[datetime]  # four, a quarter of the time apart


def bars(title: str, starts: Sequence[datetime], values: Sequence[float | None], kind: str) -> Plot:
    """A bar for each value; blank ones have none."""
    most = max((value for value in values if value is not None), default=0.0)
    step = WIDTH // len(values)
    drawn = [
        Bar(number * step, HEIGHT - height, step - _GAP, height, start, _words(value, kind))
        for number, (start, value) in enumerate(zip(starts, values, strict=True))
        if value
        for height in (max(2.0, round(value / most * (HEIGHT - 4), 1)),)
    ]
    return Plot(
        title, kind, drawn, _total(values, kind), _words(most, kind), not drawn, starts[:: max(1, len(starts) // 4)]
    )


def _words(value: float | None, kind: str) -> str:
    return took(value) if kind == "time" else amount(int(value or 0))


def _total(values: Sequence[float | None], kind: str) -> str:
    known = [value for value in values if value is not None]
    if kind == "time":
        return f"{took(known[-1])} lately" if known else "nothing delivered"
    return f"{amount(int(sum(known)))} in 24 hours"
