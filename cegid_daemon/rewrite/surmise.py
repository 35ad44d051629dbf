"""What can be told of a template without a message: names that it uses and that nothing gives it.

A guess, for warnings: a template may ask whether a name is defined. Owns no rule of rendering.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import meta, nodes

from cegid_daemon.errors import Place
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.sandbox import Sandbox

SEEN = frozenset({"records", "message", "source", "route", "store", "now", "part"})
_OF_JINJA = frozenset({"caller", "kwargs", "loop", "self", "super", "varargs"})


def unknown_names(bundle: Templates) -> list[tuple[str, Place]]:
    """The names used in the bundle that neither a message nor any of its templates gives, where each first stands."""
    sandbox = Sandbox(bundle)
    trees = {name: sandbox.parse(text, name) for name, text in bundle.texts.items()}
    known = SEEN | _OF_JINJA | set(sandbox.globals)
    for tree in trees.values():
        known |= set(_given_by(tree))
    return [
        (unknown, Place(file=name, line=_first_line(tree, unknown)))
        for name, tree in trees.items()
        for unknown in sorted(meta.find_undeclared_variables(tree) - known)
    ]


def _given_by(tree: nodes.Template) -> Iterator[str]:
    """Names that are set somewhere in a template; others that include it, or are included, may see them."""
    for node in tree.find_all((nodes.Name, nodes.Import, nodes.FromImport, nodes.Macro)):
        match node:
            case nodes.Name(name=name, ctx="store" | "param"):
                yield name
            case nodes.Import(target=name) | nodes.Macro(name=name):
                yield name
            case nodes.FromImport(names=names):
                yield from (one if isinstance(one, str) else one[1] for one in names)


def _first_line(tree: nodes.Template, name: str) -> int:
    return min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
