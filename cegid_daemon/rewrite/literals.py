"""Constants of expressions and of templates' tags, computed while they are compiled: within bounds, and few.

Owns what counts as a constant: what is written out, lists of it, texts joined, small arithmetic. Nothing that outgrows
what was written (`'x' * 9999999999`, `'x'|center(9999999999)`) is computed by who compiles, which may be the daemon.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from jinja2 import nodes

from cegid_daemon.rewrite.words import text

_ARITHMETIC: dict[type[nodes.Node], Callable[[Any, Any], Any]] = {
    nodes.Add: operator.add,
    nodes.Sub: operator.sub,
    nodes.Mul: operator.mul,
}


def literal(node: nodes.Node) -> Any:
    """The constant that a node is; raises `nodes.Impossible` where it is none."""
    match node:
        case nodes.Const(value=value):
            return value
        case nodes.List(items=items) | nodes.Tuple(items=items):
            return [literal(item) for item in items]
        case nodes.Neg(node=inner):
            return -_number(inner)
        case nodes.Pos(node=inner):
            return _number(inner)
        case nodes.Concat(nodes=parts):
            return "".join(text(literal(part)) for part in parts)
        case nodes.Add() | nodes.Sub() | nodes.Mul():
            return _ARITHMETIC[type(node)](_number(node.left), _number(node.right))
    raise nodes.Impossible


def _number(node: nodes.Node) -> Any:
    value = literal(node)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise nodes.Impossible
    return value
