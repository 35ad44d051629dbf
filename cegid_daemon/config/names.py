"""Name templates: what the name of a delivered file may be made of.

Owns which names such a template knows, and what each of them has. Renders none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from jinja2 import nodes

from cegid_daemon.config.faults import refuse
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.sandbox import Sandbox
from cegid_daemon.rewrite.seen import MessageSeen, SourceSeen
from cegid_daemon.rewrite.undeclared import undeclared_names

KNOWN = frozenset({"source", "message", "part", "route", "store", "now"})
_PARTS = {
    "source": {one.name for one in fields(SourceSeen)},
    "message": {one.name for one in fields(MessageSeen)},
}


def names_in(template: str) -> set[str]:
    """The names a valid name template asks for."""
    return undeclared_names(_tree(template))


def refuse_unknown(template: str) -> None:
    """Refuses names that a valid name template could not be rendered with, and parts that they do not have."""
    unknown = names_in(template) - KNOWN
    if unknown:
        refuse(f"the name template knows no {min(unknown)!r}", remedy=f"Known: {_listed(KNOWN)}.")
    for name, part in _parts_in(_tree(template)):
        if part not in _PARTS.get(name, {part}):
            refuse(f"the name template knows no '{name}.{part}'", remedy=f"{name} has: {_listed(_PARTS[name])}.")


def _tree(template: str) -> nodes.Template:
    return Sandbox(Templates("", {})).parse(template)


def _parts_in(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        match node:
            case nodes.Getattr(node=nodes.Name(name=name), attr=part):
                yield name, part
            case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value=str(part))):
                yield name, part


def _listed(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names))
