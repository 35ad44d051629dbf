"""The Jinja environment templates run in.

Owns what a template may reach: the sandbox, the filters, strict undefined names, escaping of XML templates, and that
a record's fields are looked up before its methods. Templates cannot read a clock or draw random numbers, so that the
same message gives the same bytes again. Reads no file: templates come in as a frozen bundle.
"""

from __future__ import annotations

from typing import Any

from jinja2 import DictLoader, StrictUndefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from cegid_daemon.errors import NOTHING, TemplateFault
from cegid_daemon.rewrite import carriers, printing, provenance
from cegid_daemon.rewrite.codegen import RecordCodeGenerator
from cegid_daemon.rewrite.filters import FILTERS
from cegid_daemon.rewrite.flow import annotate
from cegid_daemon.rewrite.reachable import OnePass, offered
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.record import ATTRIBUTES, RawFields, Record
from cegid_daemon.rewrite.seen import MessageSeen, SourceSeen

_SEEN: dict[type, str] = {RawFields: "the record as it came", SourceSeen: "source", MessageSeen: "message"}


class Lacking(StrictUndefined):
    """What is not there: using it fails, in words for who writes templates."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        seen = _SEEN.get(type(self._undefined_obj))
        if self._undefined_hint or seen is None:
            return super()._undefined_message
        return f"{seen} has no {self._undefined_name!r}"


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one bundle. A block tag takes its line with it (`trim_blocks`, `lstrip_blocks`).

    Line ends in the output are those of the main template. Everything is escaped where the main template or the one
    at hand is an `.xml.j2`.
    """

    code_generator_class = RecordCodeGenerator
    concat = staticmethod(provenance.joined)
    record = Record
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)
    intercepted_unops = frozenset(ImmutableSandboxedEnvironment.default_unop_table)
    mark, shown = staticmethod(provenance.mark), staticmethod(provenance.shown)
    keep_field = staticmethod(provenance.keep_field)
    plain, escaped = staticmethod(printing.printed_plain), staticmethod(printing.escaped)
    Buffer = provenance.Buffer
    Macro = printing.OriginMacro
    Markup = staticmethod(printing.markup)
    markup_join, str_join = staticmethod(printing.markup_join), staticmethod(printing.str_join)

    def __init__(self, bundle: Templates) -> None:
        xml = is_xml(bundle.main)
        super().__init__(
            loader=DictLoader(bundle.texts),
            autoescape=lambda name: xml or is_xml(name or ""),
            undefined=Lacking,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            newline_sequence="\r\n" if "\r\n" in bundle.texts.get(bundle.main, "") else "\n",
            extensions=["jinja2.ext.loopcontrols"],
            auto_reload=False,
            cache_size=-1,
            optimized=False,  # see `RecordCodeGenerator`
        )
        self.filters.update(FILTERS)
        del self.filters["random"], self.filters["attr"], self.globals["lipsum"]
        length = self.filters["length"]
        self.filters["length"] = self.filters["count"] = lambda value: length(_countable(value))
        self.filters.update(carriers.carrying(self.filters))

    def compile(self, source: Any, name: str | None = None, *rest: Any, **options: Any) -> Any:
        """Compiles a template whose filters know the name of the field they are applied to."""
        if isinstance(source, str):
            source = self.parse(source, name)
            _name_fields(source)
            annotate(source)
        return super().compile(source, name, *rest, **options)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`; in a record the field comes first, then what every record has (`each`, `raw` …)."""
        if type(obj) is Namespace and not attribute.startswith("_"):  # it holds only what the template put there
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return super().getattr(obj, attribute)
        if not isinstance(obj, Record):
            return super().getattr(obj, attribute)
        try:
            return provenance.keep_field(obj, attribute)
        except KeyError:
            return getattr(obj, attribute) if attribute in ATTRIBUTES else self._lacking(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`; in a record only a field."""
        if isinstance(obj, RawFields):
            return provenance.keep(super().getitem(obj, argument), provenance.origin_of(obj))
        if not isinstance(obj, Record):
            return super().getitem(obj, argument)
        try:
            return provenance.keep_field(obj, argument)
        except (KeyError, TypeError):
            return self._lacking(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  # as Jinja has it
        """What a call makes of values bears their origin."""
        result = super().call(__context, __obj, *args, **kwargs)
        return carriers.of_call(__obj, args, kwargs, result)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """What is computed of values, or joined, bears their origin."""
        result = super().call_binop(context, operator, left, right)
        return carriers.of_operation(result, (left, right))

    def call_unop(self, context: Any, operator: str, arg: Any) -> Any:
        """A number with another sign bears its origin."""
        return carriers.of_operation(super().call_unop(context, operator, arg), (arg,))

    def _lacking(self, obj: Record, name: Any) -> Any:
        return self.undefined(f"the record has no field {name!r}", obj=obj, name=name)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of what is more than a value only the names that it offers."""
        names = offered(obj.__class__)
        if names is not None and attr not in names:
            return False
        return super().is_safe_attribute(obj, attr, value)


def is_xml(name: str) -> bool:
    """Whether a template of this name makes XML, and is escaped."""
    return name.endswith(".xml.j2")


def _countable(value: Any) -> Any:
    if isinstance(value, OnePass):
        raise TemplateFault(
            "records cannot be counted before they are read",
            why="they are streamed, and pass once",
            remedy="Count in the loop (loop.index), or take records|list where the files are small.",
        ).quoting(NOTHING)
    return value


def _name_fields(template: nodes.Template) -> None:
    """Tells our filters which field they are applied to, for their errors and notes."""
    for one in template.find_all(nodes.Filter):
        if one.name in FILTERS and all(given.key != "field" for given in one.kwargs):
            one.kwargs.append(nodes.Keyword("field", nodes.Const(_field(one.node)), lineno=one.lineno))  # type: ignore[arg-type]


def _field(node: nodes.Node | None) -> str:
    """The field a value comes from; all that it may come from, as in `r.A ~ r.B` and `r.A or r.B`."""
    match node:
        case nodes.Getattr(attr=name) | nodes.Name(name=name) | nodes.Getitem(arg=nodes.Const(value=str(name))):
            return name
        case nodes.Filter(node=inner) | nodes.Call(node=nodes.Getattr(node=inner)):
            return _field(inner)
        case nodes.CondExpr(expr1=one, expr2=other):
            return _all_of(one, other)
        case nodes.Node():
            return _all_of(*node.iter_child_nodes())
    return ""


def _all_of(*parts: nodes.Node | None) -> str:
    return ", ".join(dict.fromkeys(filter(None, map(_field, parts))))
