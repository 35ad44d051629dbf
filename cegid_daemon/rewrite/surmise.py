"""What can be told of a template without a message: names nothing gives it, and whether it keeps values.

A guess, for warnings: a template may ask whether a name is defined. Owns no rule of rendering.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jinja2 import nodes

from cegid_daemon.errors import Place
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.sandbox import Sandbox
from cegid_daemon.rewrite.undeclared import undeclared_names

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
        for unknown in sorted(undeclared_names(tree) - known)
    ]


def unknown_types(bundle: Templates, types: Collection[str]) -> list[tuple[str, Place]]:
    """The record types that `each` asks for by name and that the layout does not have, where each stands."""
    sandbox = Sandbox(bundle)
    return [
        (asked, Place(file=name, line=call.lineno))
        for name, text in bundle.texts.items()
        for call in sandbox.parse(text, name).find_all(nodes.Call)
        if (asked := _asked_for(call)) and asked not in types
    ]


def _asked_for(call: nodes.Call) -> str:
    match call:
        case nodes.Call(node=nodes.Getattr(attr="each"), args=[nodes.Const(value=str(path))]):
            return path
    return ""


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


def at_once(bundle: Templates) -> bool:
    """Whether a record is printed before the next one is read, if at all: the templates keep no value of it."""
    sandbox = Sandbox(bundle)
    return all(_keeps_nothing(sandbox.parse(text, name)) for name, text in bundle.texts.items())


def _keeps_nothing(tree: nodes.Template) -> bool:
    looped = {id(loop.iter) for loop in tree.find_all(nodes.For)}
    elsewhere = any(one.name == "records" and id(one) not in looped for one in tree.find_all(nodes.Name))
    looks_around = any(one.attr in ("previtem", "nextitem") for one in tree.find_all(nodes.Getattr))
    return not elsewhere and not looks_around and not any(map(_is_kept, tree.find_all(nodes.Assign)))


def _is_kept(assign: nodes.Assign) -> bool:
    """Whether a namespace gets more than what is computed of itself, as a count is."""
    spaces = {space.name for space in assign.find_all(nodes.NSRef)}
    return bool(spaces) and any(one.name not in spaces for one in assign.node.find_all(nodes.Name))
