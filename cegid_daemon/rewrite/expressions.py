"""Layout expressions: Jinja's grammar over one record `r`, compiled once to Python closures.

Owns what an expression means (text, exact decimals, blanks). Never runs a template and never reaches anything but `r`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal

from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import Record


def compile_text(source: str, layout: Layout, columns: Collection[str] | None = None) -> Callable[[Record], str]:
    """The expression as text. `columns`: the fields that exist, where that is known (else an absent field is blank)."""
    raise NotImplementedError


def compile_number(
    source: str, layout: Layout, columns: Collection[str] | None = None
) -> Callable[[Record], Decimal | None]:
    """The expression as an exact decimal; None = blank."""
    raise NotImplementedError


def compile_condition(source: str, layout: Layout, columns: Collection[str] | None = None) -> Callable[[Record], bool]:
    """The expression as yes or no."""
    raise NotImplementedError
