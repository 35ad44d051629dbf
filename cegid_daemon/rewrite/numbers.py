"""Numbers as files write them, read exactly.

Owns the number grammar (blanks, sign, digits, at most one decimal mark) and the exact arithmetic of expressions. No
thousands mark, exponent, NaN or Infinity, no binary fraction, nothing rounded in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_FLOOR, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

ZERO = Decimal(0)
BLANKS = " \t\u00a0"
DIGITS = 100  # no stock has more; bounds what a hostile file can make us compute

_KEPT = 4096
_EXACT = Context(prec=4 * DIGITS, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
_QUOTIENT = Context(prec=DIGITS, traps=[InvalidOperation, DivisionByZero, Overflow])


def reader(mark: str) -> Callable[[str], Decimal | None]:
    """Reads a text written with this decimal mark; None = blank; raises `ValueError` for what is no number."""
    point = re.escape(mark)
    grammar = re.compile(rf"[+-]?(?:[0-9]+(?:{point}[0-9]*)?|{point}[0-9]+)")
    known: dict[str, Decimal | None] = {"": None}

    def read(text: str) -> Decimal | None:
        try:
            return known[text]
        except KeyError:
            return read_new(text)

    def read_new(text: str) -> Decimal | None:
        digits = text.strip(BLANKS)
        if not digits:
            return None
        if len(digits) > DIGITS or not grammar.fullmatch(digits):
            raise ValueError(_why(digits, mark))
        if len(known) >= _KEPT:
            known.clear()
            known[""] = None
        known[text] = value = Decimal(digits.replace(mark, "."))
        return value

    return read


def _why(digits: str, mark: str) -> str:
    shown = digits if len(digits) <= 60 else f"{digits[:60]}…"
    if len(digits) > DIGITS:
        return f"{shown!r} is longer than the {DIGITS} characters a number may have"
    return f"{shown!r} is not a number with the decimal mark {mark!r}"


def floor_divide(left: Decimal, right: Decimal) -> Decimal:
    """The whole quotient, rounded down as Jinja does: -7 // 2 is -4."""
    whole, rest = _EXACT.divmod(left, right)
    return whole - 1 if rest and (rest < 0) != (right < 0) else whole


def modulo(left: Decimal, right: Decimal) -> Decimal:
    """What `floor_divide` leaves; it has the sign of the divisor."""
    rest = _EXACT.remainder(left, right)
    return rest + right if rest and (rest < 0) != (right < 0) else rest


OPERATIONS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "add": _EXACT.add,
    "sub": _EXACT.subtract,
    "mul": _EXACT.multiply,
    "div": _QUOTIENT.divide,
    "floordiv": floor_divide,
    "mod": modulo,
}
"""By Jinja's names. All exact (`decimal.Inexact` where that is not possible) but `/`, which gives 100 digits."""


def negate(value: Decimal) -> Decimal:
    """The number with the other sign; zero has none."""
    return _EXACT.minus(value)


def whole(value: Decimal) -> bool:
    """Whether the number has no fraction."""
    return value == value.to_integral_value(ROUND_FLOOR)


def plain_text(value: Decimal) -> str:
    """The number with a point, no exponent and no trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
