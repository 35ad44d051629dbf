"""Which fields of its records a rewriting reads by name: in the layout's expressions and in the templates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from jinja2 import nodes

from cegid_daemon.rewrite import expressions
from cegid_daemon.rewrite.recipe import Layout, Recipe, Templates
from cegid_daemon.rewrite.sandbox import Sandbox

_WHOLE = frozenset({"items", "raw", "values"})  # attributes that give fields without naming them
_BY_NAME = nodes.Const | nodes.Slice | nodes.Name | nodes.Getattr
"""What a field may be asked for by without its name being put together: `r[name]`, where a text names it elsewhere."""


def fields_read(recipe: Recipe) -> frozenset[str] | None:
    """The names of fields that may be read; None: any, as a template takes a record as a whole."""
    templates = recipe.templates
    if recipe.layout.kind != "xml":
        return None  # only of elements it matters
    by_templates = _by_templates(templates.main, tuple(sorted(templates.texts.items()))) if templates else frozenset()
    if by_templates is None:
        return None
    texts = (*_texts(recipe.layout), recipe.unique)
    trees = (expressions.parse(text, recipe.layout) for text in texts if text)
    return by_templates.union(*(_named(tree) for tree in trees))


def _texts(layout: Layout) -> Iterator[str]:
    yield from (layout.sku, layout.product, layout.stock, layout.buffer, *layout.skip)
    for stocks in layout.stocks:
        yield from (stocks.sku, stocks.stock)


@lru_cache(maxsize=64)
def _by_templates(main: str, texts: tuple[tuple[str, str], ...]) -> frozenset[str] | None:
    sandbox = Sandbox(Templates(main, {}))
    trees = [sandbox.parse(text, name) for name, text in texts]
    if any(map(_takes_whole, trees)):
        return None
    return frozenset().union(*map(_named, trees))


def _named(tree: nodes.Node) -> frozenset[str]:
    attributes = {one.attr for one in (tree, *tree.find_all(nodes.Getattr)) if isinstance(one, nodes.Getattr)}
    constants = [one.value for one in (tree, *tree.find_all(nodes.Const)) if isinstance(one, nodes.Const)]
    return frozenset(attributes.union(text for text in constants if isinstance(text, str)))


def _takes_whole(tree: nodes.Template) -> bool:
    """Whether fields may be read whose names do not stand in the template."""
    whole = any(one.attr in _WHOLE for one in tree.find_all(nodes.Getattr))
    return whole or any(not isinstance(one.arg, _BY_NAME) for one in tree.find_all(nodes.Getitem))
