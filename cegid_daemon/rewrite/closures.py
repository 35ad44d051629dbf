"""What each piece of a layout expression means, as Python closures over a record.

Owns the meaning: `r.F` is text; arithmetic and ordering read it as an exact decimal, a blank counts 0 there and all
blank is blank; `==`, `in`, filters and `~` see text. Compiles only what is listed here; all else is refused by name.
Values on the way are `str`, `Decimal`, `None` (a blank number), `bool`, or a tuple.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any

from jinja2 import nodes

from cegid_daemon.errors import NOTHING, BadInput, ConfigurationError, Place
from cegid_daemon.rewrite import numbers, terms, words
from cegid_daemon.rewrite.literals import literal
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.terms import Evaluate, Term

Compute = Callable[[list[Decimal]], Decimal]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}
_OTHER_FILTERS = ("default", "length", *words.NUMBERS, *words.EXTREMES)  # beside those that see text
_ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos)


class Closures:
    """Compiles the tree of one expression; `columns` are the fields there are, None = not known beforehand."""

    def __init__(self, source: str, decimal: str, columns: Collection[str] | None) -> None:
        self._source = source
        self._columns = columns
        self._read = numbers.reader(decimal)

    # What an expression is asked for

    def text(self, tree: nodes.Expr) -> Callable[[Record], str]:
        """The expression as text."""
        return self._as_text(self._term(tree))

    def number(self, tree: nodes.Expr) -> Callable[[Record], Decimal | None]:
        """The expression as a number; None = blank."""
        return self._as_number(self._term(tree))

    def condition(self, tree: nodes.Expr) -> Callable[[Record], bool]:
        """The expression as yes or no."""
        evaluate = self._term(tree).evaluate
        return lambda r: bool(evaluate(r))

    # Pieces

    def _term(self, node: nodes.Node) -> Term:
        if isinstance(node, _ARITHMETIC):
            return Term(self._arithmetic(node), numeric=True, field=self._first_field(node))
        compiler = getattr(self, f"_{type(node).__name__.lower()}", None)
        if compiler is None:
            raise self._refused(f"{type(node).__name__} is not part of the language of layouts")
        term: Term = compiler(node)
        return term

    def _const(self, node: nodes.Const) -> Term:
        value = node.value
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            exact = Decimal(value)
            return Term(lambda _: exact, numeric=True)
        constant = "" if value is None else value
        return Term(lambda _: constant)

    def _name(self, node: nodes.Name) -> Term:
        if node.name == "r":
            raise self._refused("r is the whole record; a field of it is r.NAME")
        raise self._unknown(node.name)

    def _list(self, node: nodes.List | nodes.Tuple) -> Term:
        items = [self._as_text(self._term(item)) for item in node.items]
        if all(isinstance(item, nodes.Const) for item in node.items):
            constant = tuple(item(Record()) for item in items)
            return Term(lambda _: constant)
        return Term(lambda r: tuple(item(r) for item in items))

    _tuple = _list

    def _getattr(self, node: nodes.Getattr) -> Term:
        record = self._record(node.node)
        if record is None:
            raise self._refused(f".{node.attr} stands behind something that is no record")
        return self._field(record, node.attr)

    def _getitem(self, node: nodes.Getitem) -> Term:
        record = self._record(node.node)
        if record is not None:
            if not (isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)):
                raise self._refused("a field is named by a text: r['NAME']")
            return self._field(record, node.arg.value)
        return self._part(node)

    def _part(self, node: nodes.Getitem) -> Term:
        """`r.GA_ARTICLE[:18]`, `r.CODE[0]`; a character that is not there is blank."""
        inner = self._term(node.node)
        text = self._as_text(inner)
        if isinstance(node.arg, nodes.Slice):
            bounds = slice(*(self._whole(bound) for bound in (node.arg.start, node.arg.stop, node.arg.step)))
        else:
            at = self._whole(node.arg) or 0
            bounds = slice(at, at + 1 or None)
        return Term(lambda r: text(r)[bounds], field=inner.field)

    def _whole(self, node: nodes.Expr | None) -> int | None:
        if node is None:
            return None
        sign = -1 if isinstance(node, nodes.Neg) else 1
        value = getattr(node.node if isinstance(node, nodes.Neg) else node, "value", None)
        if not isinstance(value, int):
            raise self._refused("a part of a text is named by whole numbers: r.F[:18]")
        return sign * value

    def _record(self, node: nodes.Node) -> Evaluate | None:
        """How to get to the record a node stands for (`r`, `r.parent`, `r.raw`); None: it stands for no record."""
        if isinstance(node, nodes.Name):
            if node.name != "r":
                raise self._unknown(node.name)
            return terms.itself
        if isinstance(node, nodes.Getattr) and node.attr in ("parent", "raw"):
            outer = self._record(node.node)
            step = terms.parent if node.attr == "parent" else operator.attrgetter("raw")
            return None if outer is None else lambda r: step(outer(r))
        return None

    def _field(self, record: Evaluate, name: str) -> Term:
        if record is not terms.itself:
            field = terms.or_blank(name)
            return Term(lambda r: field(record(r)), field=name, present=lambda r: terms.has(record(r), name))
        if self._columns is None:
            return Term(terms.or_blank(name), field=name, present=lambda r: terms.has(r, name))
        if name not in self._columns:
            raise BadInput(
                f"there is no column {name}",
                where=Place(field=name),
                why=f"the layout's expression {self._source!r} reads it",
                remedy="Correct the layout, or ask the sender for the column",
            ).quoting(NOTHING)
        return Term(operator.itemgetter(name), field=name, present=terms.always)

    def _concat(self, node: nodes.Concat) -> Term:
        parts = [self._as_text(self._term(part)) for part in node.nodes]
        return Term(lambda r: "".join([part(r) for part in parts]), field=self._first_field(node))

    # Yes and no

    def _and(self, node: nodes.And) -> Term:
        left, right = self._term(node.left).evaluate, self._term(node.right).evaluate
        return Term(lambda r: left(r) and right(r), field=self._first_field(node))

    def _or(self, node: nodes.Or) -> Term:
        left, right = self._term(node.left).evaluate, self._term(node.right).evaluate
        return Term(lambda r: left(r) or right(r), field=self._first_field(node))

    def _not(self, node: nodes.Not) -> Term:
        inner = self._term(node.node).evaluate
        return Term(lambda r: not inner(r), answer=True)

    def _condexpr(self, node: nodes.CondExpr) -> Term:
        test, one = self._term(node.test).evaluate, self._term(node.expr1).evaluate
        other = self._term(node.expr2 or nodes.Const("")).evaluate
        return Term(lambda r: one(r) if test(r) else other(r), field=self._first_field(node))

    def _compare(self, node: nodes.Compare) -> Term:
        pairs, left = [], node.expr
        for operand in node.ops:
            pairs.append(self._pair(operand.op, left, operand.expr))
            left = operand.expr
        if len(pairs) == 1:
            return Term(pairs[0], answer=True)
        return Term(lambda r: all(pair(r) for pair in pairs), answer=True)

    def _pair(self, how: str, left: nodes.Expr, right: nodes.Expr) -> Callable[[Record], bool]:
        if how in _ORDER:
            return self._ordering(_ORDER[how], left, right)
        one, other = self._term(left), self._term(right)
        if how in ("in", "notin"):
            text, pool = self._as_text(one), other.evaluate
            return (lambda r: text(r) in pool(r)) if how == "in" else (lambda r: text(r) not in pool(r))
        numeric = one.numeric and other.numeric
        first, second = (one.evaluate, other.evaluate) if numeric else (self._as_text(one), self._as_text(other))
        return (lambda r: first(r) == second(r)) if how == "eq" else (lambda r: first(r) != second(r))

    def _ordering(
        self, order: Callable[[Any, Any], bool], left: nodes.Expr, right: nodes.Expr
    ) -> Callable[[Record], bool]:
        one, other = self._as_number(self._term(left)), self._as_number(self._term(right))
        return lambda r: order(one(r) or numbers.ZERO, other(r) or numbers.ZERO)

    # Words: filters, tests, methods

    def _filter(self, node: nodes.Filter) -> Term:
        if node.node is None:
            raise self._refused("a filter stands behind a value: r.F|trim")
        if node.name in words.EXTREMES:
            return self._extreme(node)
        inner, given = self._term(node.node), self._given(node)
        if node.name in words.NUMBERS and not given:
            return self._numeric(words.NUMBERS[node.name], inner)
        if node.name in ("default", "d"):
            return self._default(inner, *given)
        if node.name in ("length", "count"):
            return Term(self._length(inner), numeric=True, field=inner.field)
        return self._word(words.FILTERS, f"the filter {node.name!r}", node.name, inner, given, more=_OTHER_FILTERS)

    def _numeric(self, change: Callable[[Decimal], Decimal], inner: Term) -> Term:
        number = self._as_number(inner)

        def changed(r: Record) -> Decimal | None:
            value = number(r)
            return None if value is None else change(value)

        return Term(changed, numeric=True, field=inner.field)

    def _extreme(self, node: nodes.Filter) -> Term:
        """`[r.A - r.B, 0]|max`: a blank counts 0 as in arithmetic; where every field is blank the result is."""
        if not isinstance(node.node, nodes.List | nodes.Tuple) or not node.node.items or self._given(node):
            raise self._refused(f"the filter {node.name!r} stands behind a list: [r.A, 0]|{node.name}")
        choose = words.EXTREMES[node.name]
        items = [(self._as_number(self._term(item)), isinstance(item, nodes.Const)) for item in node.node.items]

        def chosen(r: Record) -> Decimal | None:
            values = [(number(r), constant) for number, constant in items]
            if all(constant or value is None for value, constant in values):
                return None
            return choose([value or numbers.ZERO for value, _ in values])

        return Term(chosen, numeric=True, field=self._first_field(node))

    def _call(self, node: nodes.Call) -> Term:
        if not isinstance(node.node, nodes.Getattr):
            raise self._refused("only methods of texts and r.each('PATH') can be called")
        given, name = self._given(node), node.node.attr
        record = self._record(node.node.node)
        if record is None:
            return self._word(words.METHODS, f"the method {name!r}", name, self._term(node.node.node), given)
        if name != "each" or len(given) != 1:
            raise self._refused(f"r.{name}() is not known; there is r.each('PATH')")
        path = str(given[0])
        return Term(lambda r: tuple(record(r).each(path)))

    def _word(
        self, known: words.Words, what: str, name: str, inner: Term, given: list[Any], more: Collection[str] = ()
    ) -> Term:
        word, text = known.get(name), self._as_text(inner)
        if word is None:
            raise self._refused(f"{what} is not known; there are {', '.join(sorted({*known, *more}))}")
        try:
            word("", *given)
        except (TypeError, ValueError) as error:
            raise self._refused(f"{what} does not take {given!r}: {error}") from error
        return Term(lambda r: word(text(r), *given), field=inner.field)

    def _default(self, inner: Term, other: Any = "", blank_too: Any = False) -> Term:
        evaluate, present = inner.evaluate, inner.present or terms.always
        if blank_too:
            return Term(lambda r: evaluate(r) or other, field=inner.field)
        return Term(lambda r: evaluate(r) if present(r) else other, field=inner.field)

    def _length(self, inner: Term) -> Evaluate:
        evaluate = inner.evaluate
        return lambda r: Decimal(len(evaluate(r) or ""))

    def _test(self, node: nodes.Test) -> Term:
        inner, given = self._term(node.node), self._given(node)
        present, evaluate = inner.present or terms.always, inner.evaluate
        if node.name in ("defined", "undefined"):
            wanted = node.name == "defined"
            return Term(lambda r: present(r) is wanted, answer=True)
        if node.name == "none":
            return Term(lambda r: evaluate(r) in (None, ""), answer=True)
        if node.name == "in" and len(given) == 1:
            text, pool = self._as_text(inner), given[0]
            return Term(lambda r: text(r) in pool, answer=True)
        raise self._refused(f"the test {node.name!r} is not known; there are defined, in, none, undefined")

    def _given(self, node: nodes.Filter | nodes.Test | nodes.Call) -> list[Any]:
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise self._refused("arguments are given by their place")
        try:
            return [words.plain_argument(literal(argument)) for argument in node.args]
        except nodes.Impossible as error:
            raise self._refused("arguments are constants, written out") from error

    # Numbers

    def _arithmetic(self, node: nodes.Node) -> Evaluate:
        leaves: list[Callable[[Record], Decimal | None]] = []
        compute = self._operation(node, leaves)
        field, source = self._first_field(node), self._source

        def evaluate(r: Record) -> Decimal | None:
            values = [leaf(r) for leaf in leaves]
            if None in values:
                if values.count(None) == len(values):
                    return None
                values = [numbers.ZERO if value is None else value for value in values]
            try:
                return compute(values)  # type: ignore[arg-type]  # no None is left
            except ArithmeticError as error:
                raise terms.not_computed(r, field, source, error) from error

        return evaluate

    def _operation(self, node: nodes.Node, leaves: list[Callable[[Record], Decimal | None]]) -> Compute:
        if isinstance(node, nodes.Neg | nodes.Pos):
            inner = self._operation(node.node, leaves)
            return inner if isinstance(node, nodes.Pos) else lambda values: numbers.negate(inner(values))
        if isinstance(node, nodes.BinExpr) and type(node).__name__.lower() in numbers.OPERATIONS:
            operate = numbers.OPERATIONS[type(node).__name__.lower()]
            left, right = self._operation(node.left, leaves), self._operation(node.right, leaves)
            return lambda values: operate(left(values), right(values))
        if isinstance(node, nodes.Const):
            constant = self._as_number(self._term(node))(Record()) or numbers.ZERO
            return lambda _: constant
        leaves.append(self._as_number(self._term(node)))
        return operator.itemgetter(len(leaves) - 1)

    def _as_number(self, term: Term) -> Callable[[Record], Decimal | None]:
        evaluate, read, field = term.evaluate, self._read, term.field
        if term.numeric:
            return evaluate
        if term.answer:
            raise self._refused("a number is wanted, and a comparison gives yes or no")

        def number(r: Record) -> Decimal | None:
            value = evaluate(r)
            if value.__class__ is not str and (value is None or isinstance(value, Decimal)):
                return value
            try:
                return read(value)
            except (ValueError, TypeError, AttributeError) as error:
                raise terms.no_number(r, field, self._source, error) from error

        return number

    def _as_text(self, term: Term) -> Callable[[Record], str]:
        evaluate = term.evaluate
        if term.present is not None:
            return evaluate
        return lambda r: words.text(evaluate(r))

    def _first_field(self, node: nodes.Node) -> str:
        for found in node.find_all((nodes.Getattr, nodes.Getitem)):
            name = found.attr if isinstance(found, nodes.Getattr) else getattr(getattr(found, "arg", None), "value", "")
            if name and isinstance(name, str):
                return name
        return ""

    def _unknown(self, name: str) -> ConfigurationError:
        return self._refused(f"{name!r} is not known; an expression sees only the record r, a field as r.NAME")

    def _refused(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"the expression {self._source!r} cannot be used",
            why=why,
            remedy="docs/layouts.md lists what an expression may hold",
        )
