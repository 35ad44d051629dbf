"""What a fault may say where a route masks fields (`redact`): what, where and what to do, but no value of such a field.

Owns the rule for texts that quote the file: the fault knows which text it quotes (`MessageError.quotes`), and what is
not known for certain to be harmless is not said. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from cegid_daemon.errors import ANYTHING, FIELD_VALUE, NOTHING, MessageError, TemplateFault
from cegid_daemon.rewrite.masking.fields import Fields
from cegid_daemon.rewrite.recipe import Layout, Recipe

NOT_SHOWN = "what it met is not shown, as the route masks fields (`redact`)"

_NONE = Fields.of(())
_COMPUTED = frozenset({"sku", "product", "stock", "raw_stock", "buffer", "unique"})
_PIECES = frozenset({"", "lead", "header", "title row", "trailer", "text"})  # "fields" that are a piece of the file

E = TypeVar("E", bound=MessageError)


def tellable(error: E, recipe: Recipe, redact: Sequence[str]) -> E:
    """The error as it may be kept, logged and shown for a route that masks `redact`; the same one where it may."""
    fields = Fields.of(redact)
    if not redact or (error.quotes == FIELD_VALUE and not _is_hidden(error, recipe, fields)):
        return error
    return withheld(error, fields)


def withheld(error: E, fields: Fields = _NONE) -> E:
    """The error without any text of the file, names of its fields too unless `fields` has them."""
    if error.quotes == NOTHING:
        return error
    where = error.where
    if error.quotes == ANYTHING and not isinstance(error, TemplateFault) and not fields.masks(where.field):
        where = replace(where, field="")  # a file without titles has values in their place
    what = error.unquoted or error.what
    shown = type(error)(what, where=where, why=NOT_SHOWN if error.why else "", remedy=error.remedy)
    return shown.quoting(NOTHING)


def _is_hidden(error: MessageError, recipe: Recipe, fields: Fields) -> bool:
    """Whether the value of the field that the error names may hold one that is masked."""
    names = [name.strip() for name in error.where.field.split(",")]
    return (
        any(name in _PIECES or name.isdigit() or fields.masks(name) for name in names)
        or (any(name in _COMPUTED for name in names) and reads(_expressions(recipe), fields))
        or reads([error.why], fields)  # the expression that read it, where it joins several
    )


def _expressions(recipe: Recipe) -> list[str]:
    layout: Layout = recipe.layout
    inner = [text for one in layout.stocks for text in (one.sku, one.stock)]
    return [layout.sku, layout.product, layout.stock, recipe.unique, *inner]


def reads(texts: Iterable[str], fields: Fields) -> bool:
    """Whether one of some expressions names a masked field."""
    names = [*fields.names, *(f"@{name}" for name in fields.attributes)]
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in texts for name in names)
