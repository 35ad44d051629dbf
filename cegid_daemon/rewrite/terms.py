"""The smallest pieces of compiled expressions: what a piece is, how fields are reached, what its faults say.

Owns nothing of the grammar; `closures` puts these together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cegid_daemon.errors import FIELD_VALUE, NOTHING, BadInput, ConfigurationError, Place
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.record import Record

Evaluate = Callable[[Record], Any]


@dataclass(frozen=True, slots=True)
class Term:
    """A compiled piece: how to evaluate it, whether it always is a number, and the field a fault in it is put to."""

    evaluate: Evaluate
    numeric: bool = False
    field: str = ""
    present: Callable[[Record], bool] | None = None  # for fields: whether the record has it at all
    answer: bool = False  # whether it is a yes or no, of which no number can be made


def always(_: Record) -> bool:
    """Yes, of any record."""
    return True


def itself(r: Record) -> Record:
    """`r`."""
    return r


def parent(r: Record) -> Record:
    """`r.parent`."""
    if r.parent is None:
        raise ConfigurationError(
            "r.parent is used where r is not inside another record",
            remedy="r.parent is known in the expressions of [[layout.NAME.stocks]] only",
        )
    return r.parent


def or_blank(name: str) -> Evaluate:
    """Reads a field; an absent one is blank."""

    def field(r: Record) -> Any:
        try:
            value = r[name]
        except KeyError:
            return ""
        return value.refuse() if value.__class__ is NestedText else value

    return field


def has(r: Record, name: str) -> bool:
    """Whether the record has the field, however it is reached."""
    try:
        r[name]
    except KeyError:
        return False
    return True


def no_number(r: Record, field: str, source: str, error: Exception) -> BadInput:
    """The error for a text that is read as a number and is none."""
    return BadInput(
        "a value is no number",
        where=_place(r, field),
        why=f"{error}; the expression {source!r} reads it",
        remedy="Have the sender correct the file, or the layout's decimal mark",
    ).quoting(FIELD_VALUE)


def not_computed(r: Record, field: str, source: str, error: ArithmeticError) -> BadInput:
    """The error for arithmetic without an exact result."""
    why = "division by zero" if isinstance(error, ZeroDivisionError) else "the exact result has too many digits"
    return BadInput(
        f"{source!r} cannot be computed", where=_place(r, field), why=why,
        remedy="Have the sender correct the file, or correct the layout",
    ).quoting(NOTHING)  # fmt: skip


def _place(r: Record, field: str) -> Place:
    """Where a field is; what stands inside a record is found by the number of that one."""
    return Place(line=r.line, record=r.number or (r.parent.number if r.parent is not None else 0), field=field)
