"""How values become text in the output, and in the blocks and macros of a template, where they keep their origin."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from jinja2 import runtime
from markupsafe import Markup, escape

from cegid_daemon.rewrite.filters import plain
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.provenance import keep, origin_of, origin_of_all

_MARKS = re.compile("[&<>\"']")


def printed_plain(value: Any) -> str:
    """A value as a text template prints it."""
    return value if value.__class__ is str else str(plain(value))


def escaped(value: Any) -> Any:
    """A value as an XML template prints it, escaped: most of them hold nothing to escape."""
    if value.__class__ is int:
        return str(value)
    shown = value if value.__class__ is str else plain(value)
    return shown if shown.__class__ is str and (shown.isalnum() or not _MARKS.search(shown)) else escape(shown)


def markup(text: Any = "") -> Any:
    """A text that needs no escaping."""
    return keep(Markup(text), origin_of(text))  # noqa: S704  # as the template says


class OriginMacro(runtime.Macro):
    """A macro whose text keeps its origins."""

    def _invoke(self, arguments: list[Any], autoescape: bool) -> Any:  # as Jinja has it
        made = self._func(*arguments)
        return markup(made) if autoescape else made


def markup_join(values: Iterable[Any]) -> Any:
    """`a ~ b` where the output is escaped."""
    parts = list(values)
    _refuse_nested(parts)
    return keep(runtime.markup_join(parts), origin_of_all(parts))


def str_join(values: Iterable[Any]) -> Any:
    """`a ~ b` elsewhere."""
    parts = list(values)
    return keep(runtime.str_join(parts), origin_of_all(parts))


def _refuse_nested(parts: Iterable[Any]) -> None:
    for part in parts:
        if part.__class__ is NestedText:
            part.refuse()
