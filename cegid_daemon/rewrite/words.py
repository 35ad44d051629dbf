"""The filters and text methods a layout expression may use.

Most take a text and give a text or yes or no. Those of `NUMBERS` and `EXTREMES` read exact decimals as arithmetic does:
what is no number fails, instead of becoming Jinja's 0 in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

from cegid_daemon.errors import NOTHING, BadInput
from cegid_daemon.rewrite.numbers import plain_text

Words = Mapping[str, Callable[..., Any]]

_LONGEST = 16_000_000  # characters that replace may make

NUMBERS: Mapping[str, Callable[[Decimal], Decimal]] = {
    "abs": Decimal.copy_abs,
    "float": lambda value: value,
    "int": lambda value: value.to_integral_value(ROUND_DOWN),
}

EXTREMES: Mapping[str, Callable[[list[Decimal]], Decimal]] = {"max": max, "min": min}


def text(value: Any) -> str:
    """Any value of an expression as text; a blank number is a blank text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return plain_text(value)
    return "" if value is None else str(value)


def plain_argument(value: Any) -> Any:
    """A constant argument as the words take it: lists as tuples of texts."""
    if isinstance(value, list | tuple):
        return tuple(text(Decimal(item) if _is_number(item) else item) for item in value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def replace(value: str, old: str, new: str, count: int = -1, /) -> str:
    """`str.replace`, bounded: a few of them in a row could fill the memory."""
    times = value.count(old) if count < 0 else min(count, value.count(old))
    if len(value) + times * (len(new) - len(old)) > _LONGEST:
        raise BadInput(
            "a text of an expression grows too long", why=f"replace would make over {_LONGEST:,} characters of it",
            remedy="Correct the layout, or have the sender correct the file",
        ).quoting(NOTHING)  # fmt: skip
    return value.replace(old, new, count)


METHODS: Words = {
    "endswith": str.endswith,
    "isdigit": lambda value: value.isascii() and value.isdigit(),
    "lower": str.lower,
    "lstrip": str.lstrip,
    "removeprefix": str.removeprefix,
    "removesuffix": str.removesuffix,
    "replace": replace,
    "rstrip": str.rstrip,
    "startswith": str.startswith,
    "strip": str.strip,
    "upper": str.upper,
}

FILTERS: Words = {
    "capitalize": str.capitalize,
    "first": lambda value: value[:1],
    "last": lambda value: value[-1:],
    "lower": str.lower,
    "replace": replace,
    "string": lambda value: value,
    "trim": str.strip,
    "upper": str.upper,
}
