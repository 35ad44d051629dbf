"""Where the values of a template go: printed at once, only looked at, or kept for later.

Says it of the nodes of a template before it is compiled. What is printed as it is read needs no origin, and its filters
are the plain ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import nodes

KEPT, LOOKED_AT, AT_ONCE = "kept", "looked at", "at once"  # into the output, or the text of a block or macro
SHOWN = "shown"  # made of kept values, and printed
PLAIN = "plain "
"""Stands before the name of a filter that need not carry origins."""

_SCALAR = frozenset(
    {
        *("abs", "capitalize", "center", "cegid_date", "d", "decimal", "default", "e", "ean", "escape", "fit", "flat"),
        *("float", "forceescape", "format", "indent", "int", "lower", "needed", "replace", "round", "safe", "string"),
        *("striptags", "title", "trim", "truncate", "upper", "urlencode", "whole", "wordwrap"),
    }
)
"""Filters that make one value of one value."""


def annotate(template: nodes.Template) -> None:
    """Says of each node of a template where its value goes."""
    _statements(template)


def flow_of(node: nodes.Node) -> str:
    """Where the value of a node goes."""
    flow: str = getattr(node, "flow", KEPT)
    return flow


def _statements(node: nodes.Node) -> None:
    if isinstance(node, nodes.Output):
        for printed in node.nodes:
            _printed(printed)
    elif isinstance(node, nodes.Expr):
        _expression(node, KEPT)
    else:
        tests: list[nodes.Node] = [node.test] if isinstance(node, nodes.If | nodes.For) and node.test else []
        for one in tests:
            _expression(one, LOOKED_AT)
        for child in node.iter_child_nodes():
            if child not in tests:
                _statements(child)


def _expression(node: nodes.Node, flow: str) -> None:
    if isinstance(node, nodes.Compare | nodes.Test | nodes.Not):
        flow = LOOKED_AT
    node.flow = flow  # type: ignore[attr-defined]
    if isinstance(node, nodes.Filter) and flow != KEPT:
        node.name = PLAIN + node.name
    test = node.test if isinstance(node, nodes.CondExpr) else None
    for child in node.iter_child_nodes():
        _expression(child, LOOKED_AT if child is test else flow)


def _printed(node: nodes.Node) -> None:
    """What is printed if it is computed: the values it is made of are printed where they are read."""
    if _is_at_once(node):
        return _expression(node, AT_ONCE)
    parts = _parts(node)
    node.flow = AT_ONCE if parts else SHOWN  # type: ignore[attr-defined]
    if isinstance(node, nodes.Filter) and parts:
        node.name = PLAIN + node.name
    if isinstance(node, nodes.CondExpr):
        _expression(node.test, LOOKED_AT)
    for part in parts:
        _printed(part)
    if not parts:
        for child in node.iter_child_nodes():
            _expression(child, KEPT)
    return None


def _parts(node: nodes.Node) -> Sequence[nodes.Node]:
    """Those whose values are printed where the node's is; none: it is not known of which it is made."""
    found: Sequence[nodes.Node] = ()
    match node:
        case nodes.Filter(node=nodes.List(items=parts), name="join") if _has_plain_arguments(node):
            found = parts
        case nodes.Filter(node=nodes.Node() as inner) if _is_plain(node):
            found = (inner,)
        case nodes.CondExpr(expr1=one, expr2=other):
            found = (one,) if other is None else (one, other)
        case nodes.Concat(nodes=parts):
            found = parts
    return found


def _is_at_once(node: nodes.Node | None) -> bool:
    """Whether a value that is printed is read from records right here, and all that is read is printed."""
    match node:
        case nodes.Const() | nodes.TemplateData() | nodes.Compare() | nodes.Test() | nodes.Not():
            answer = True
        case nodes.Getattr(node=nodes.Name()) | nodes.Getitem(node=nodes.Name(), arg=nodes.Const(value=str())):
            answer = True
        case nodes.Getitem(node=inner, arg=nodes.Slice() | nodes.Const()):
            answer = _is_at_once(inner)
        case nodes.BinExpr(left=left, right=right) if not isinstance(node, nodes.And | nodes.Or):
            answer = _is_at_once(left) and _is_at_once(right)
        case _:
            parts = _parts(node) if node is not None else []
            answer = bool(parts) and not _lists(node) and all(map(_is_at_once, parts))
    return answer


def _lists(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.Filter) and isinstance(node.node, nodes.List)


def _is_plain(node: nodes.Filter) -> bool:
    """Whether a filter makes one value of one value, and of nothing else that is read."""
    return node.name in _SCALAR and _has_plain_arguments(node)


def _has_plain_arguments(node: nodes.Filter) -> bool:
    given = (*node.args, *(one.value for one in node.kwargs))
    bare = node.dyn_args is None and node.dyn_kwargs is None
    return bare and all(isinstance(one, nodes.Const) for one in given)
