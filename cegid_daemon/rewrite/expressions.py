"""Layout expressions: Jinja's grammar over one record `r`, compiled once to Python closures.

Owns parsing and what an expression is asked for: text, number, yes or no. `closures` owns what each piece means. Never
runs a template and never reaches anything but `r`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.lexer import Lexer, Token
from jinja2.parser import Parser

from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.rewrite.closures import Closures
from cegid_daemon.rewrite.numbers import DIGITS
from cegid_daemon.rewrite.recipe import Layout
from cegid_daemon.rewrite.record import ATTRIBUTES, Number, Record, as_it_came, plain, reaches_inside

_Compiled = Callable[[Record], Any]

_DEEPEST = 100  # pieces of an expression inside each other
_KEPT = 4_096  # numbers remembered by what they were computed from


def compile_text(source: str, layout: Layout, columns: Collection[str] | None = None) -> Callable[[Record], str]:
    """The expression as text.

    `columns`: the fields there are, where that is known: naming another raises `BadInput`. Where it is not known (XML)
    an absent field is blank. Raises `ConfigurationError` for what is no expression or not supported.
    """
    return _compiled("text", source, layout.name, layout.decimal, _frozen(columns))


def compile_number(
    source: str, layout: Layout, columns: Collection[str] | None = None
) -> Callable[[Record], Decimal | None]:
    """The expression as an exact decimal; None = blank. It raises `BadInput` for a text that is no number."""
    return _compiled("number", source, layout.name, layout.decimal, _frozen(columns))


def compile_stock(source: str, layout: Layout, columns: Collection[str] | None = None) -> Callable[[Record], Number]:
    """The expression as a number as templates see it, computed once for the same texts in the same fields.

    Where it is one field, and no sum is made of it, the number prints as that field's text.
    """
    return _compiled("sum" if layout.sum_by else "stock", source, layout.name, layout.decimal, _frozen(columns))


def compile_condition(source: str, layout: Layout, columns: Collection[str] | None = None) -> Callable[[Record], bool]:
    """The expression as yes or no: a blank text, a blank number and zero are no."""
    return _compiled("condition", source, layout.name, layout.decimal, _frozen(columns))


def _frozen(columns: Collection[str] | None) -> frozenset[str] | None:
    return None if columns is None else frozenset(columns)


@lru_cache(maxsize=512)
def _compiled(what: str, source: str, layout: str, decimal: str, columns: frozenset[str] | None) -> _Compiled:
    """Kept: every small file of a route asks for the same few, and compiling takes longer than to rewrite it."""
    tree = _parsed(source, layout)
    closures = Closures(source, decimal, columns)
    if what in ("stock", "sum"):
        return _remembering(closures.number(tree), tree, as_text=what == "stock" and bool(_field(tree)))
    compiled: _Compiled = getattr(closures, what)(tree)
    return compiled


def _remembering(
    number: Callable[[Record], Decimal | None], tree: nodes.Expr, *, as_text: bool
) -> Callable[[Record], Number]:
    """The same few numbers come over and over: each is looked up by the texts it is computed from."""
    read = [_field(node) for node in (tree, *tree.find_all((nodes.Getattr, nodes.Getitem)))]
    fields = [name for name in read if name]
    if len(fields) != sum(1 for _ in tree.find_all(nodes.Name)) or any(map(_leads_elsewhere, fields)):
        return lambda r: plain(number(r))
    known: dict[tuple[Any, ...], Number] = {}

    def recall(r: Record) -> Number:
        texts = tuple(map(r.get, fields))
        value = known.get(texts)
        if value is None:
            if len(known) >= _KEPT:
                known.clear()
            value = plain(number(r))
            known[texts] = value = as_it_came(value, texts[0] or "") if as_text else value
        return value

    return recall


def _leads_elsewhere(name: str) -> bool:
    """Whether what stands behind the name is not the text of one field: `r.parent`, `r.each(…)`, `r['Price/@id']`."""
    return name in ATTRIBUTES or reaches_inside(name)


def field_of(source: str, layout: Layout) -> str:
    """The field of `r` that an expression is, and nothing else; blank: it is more."""
    return _field(parse(source, layout))


def fields_of(source: str, layout: Layout) -> frozenset[str]:
    """The fields of `r` itself that an expression reads."""
    tree = parse(source, layout)
    used = {_field(node) for node in (tree, *tree.find_all((nodes.Getattr, nodes.Getitem)))}
    return frozenset(used - {""})


def reaches_parent(source: str, layout: Layout) -> bool:
    """Whether the expression reads the record that `r` stands in."""
    tree = parse(source, layout)
    return any(_field(node) == "parent" for node in (tree, *tree.find_all(nodes.Getattr)))


def reads_elements(layout: Layout) -> bool:
    """Whether an expression over the layout's records reads more than the texts of their fields."""
    return any(_leads_elsewhere(name) for text in _of_records(layout) for name in fields_of(text, layout))


def faults(layout: Layout) -> list[ConfigurationError]:
    """What is wrong with the layout's own expressions, all of it; an empty list: nothing."""
    texts = [*_of_records(layout), *([layout.proof.count] if layout.proof and layout.proof.count else [])]
    return [fault for text in texts for fault in _fault(text, layout)]


def _of_records(layout: Layout) -> list[str]:
    texts = [layout.sku, layout.product, layout.stock, layout.buffer, *layout.skip]
    texts += [text for stocks in layout.stocks for text in (stocks.sku, stocks.stock)]
    return [text for text in texts if text]


def _fault(source: str, layout: Layout) -> Iterator[ConfigurationError]:
    try:
        compile_text(source, layout)
    except ConfigurationError as error:
        yield error


def parse(source: str, layout: Layout) -> nodes.Expr:
    """The expression's syntax tree; raises `ConfigurationError` where Jinja cannot read it."""
    return _parsed(source, layout.name)


@lru_cache(maxsize=512)
def _parsed(source: str, layout: str) -> nodes.Expr:
    """Parsing costs more than all else in a small file, and its layout's expressions are the same as the last one's."""
    try:
        parser = Parser(_ENVIRONMENT, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateSyntaxError(f"{parser.stream.current.value!r} was not expected", 1)
        if _is_deep(tree):
            raise TemplateSyntaxError("it is nested too deeply", 1)
        tree.set_environment(_ENVIRONMENT)  # constant arguments are computed by it
    except (TemplateSyntaxError, RecursionError) as error:
        raise _unreadable(source, layout, _why(error)) from error
    return tree


def _is_deep(tree: nodes.Node) -> bool:
    """Whether it is nested so deeply that evaluating it could exhaust the stack."""
    level: list[nodes.Node] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return False
    return True


def _why(error: TemplateSyntaxError | RecursionError) -> str:
    return (error.message or "") if isinstance(error, TemplateSyntaxError) else "it is nested too deeply"


def _unreadable(source: str, layout: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the expression {source!r}{f' of layout {layout!r}' if layout else ''} cannot be read",
        where=Place(field=f"layout.{layout}" if layout else ""),
        why=why,
        remedy="Write it as a Jinja expression over the record r, as in r.GQ_PHYSIQUE - r.GQ_RESERVECLI",
    )


def _field(node: nodes.Node) -> str:
    of_record = isinstance(node, nodes.Getattr | nodes.Getitem) and node.node == nodes.Name("r", "load")
    if of_record and isinstance(node, nodes.Getattr):
        return node.attr
    if of_record and isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return ""


def _refuse_long(raw: tuple[int, str, str]) -> None:
    digits = raw[2].replace("_", "")
    if len(digits) > DIGITS or (raw[1] == "float" and abs(Decimal(digits).adjusted()) > DIGITS):
        raise TemplateSyntaxError(f"a number has more than {DIGITS} digits", raw[0])


class _ExactLexer(Lexer):
    """Jinja's lexer, with `0.1` as the decimal that was written and not the binary fraction next to it."""

    def wrap(
        self, stream: object, name: str | None = None, filename: str | None = None
    ) -> Iterator[Token]:  # fmt: skip
        for raw in stream:  # type: ignore[attr-defined]
            if raw[1] in ("float", "integer"):
                _refuse_long(raw)
            if raw[1] == "float":
                yield Token(raw[0], "float", Decimal(raw[2].replace("_", "")))  # type: ignore[arg-type]
            else:
                yield from super().wrap([raw], name, filename)


class _ExpressionEnvironment(Environment):
    @property
    def lexer(self) -> Lexer:
        return _LEXER


_LEXER = _ExactLexer(Environment(autoescape=True))
_ENVIRONMENT = _ExpressionEnvironment(autoescape=True)
