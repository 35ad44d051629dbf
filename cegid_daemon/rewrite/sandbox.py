"""The Jinja environment templates run in.

Owns what a template may reach: the sandbox, the filters, strict undefined names, escaping of XML templates, and that
a record's fields are looked up before its methods. Templates cannot read a clock or draw random numbers, so that the
same message gives the same bytes again. Reads no file: templates come in as a frozen bundle.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from jinja2 import DictLoader, StrictUndefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape

from cegid_daemon.errors import TemplateFault
from cegid_daemon.rewrite.filters import FILTERS, plain
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.record import ATTRIBUTES, RawFields, Record
from cegid_daemon.rewrite.seen import MessageSeen, SourceSeen

_CLOCKS = frozenset({"now", "utcnow", "today"})
_COUNTERS = frozenset({"first", "index", "index0", "last"})  # of a loop
_SEEN: dict[type, str] = {RawFields: "the record as it came", SourceSeen: "source", MessageSeen: "message"}
_MARKS = re.compile("[&<>\"']")


def escaped(value: Any) -> str:
    """A value as an XML template prints it, escaped: most of them hold nothing to escape."""
    if value.__class__ is int:
        return str(value)
    shown = value if value.__class__ is str else plain(value)
    return shown if shown.__class__ is str and (shown.isalnum() or not _MARKS.search(shown)) else escape(shown)


class _Printing(CodeGenerator):
    """Jinja's compiler, for records by the hundred thousand: what it asks of each value takes fewer steps.

    Values are finalized and escaped by one call, a field of a record and a loop's counter are looked up in place. It
    computes nothing while it compiles: `'x' * 9999999999` costs the worker that renders it, not who compiles it.
    """

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802  # named by Jinja
        """Looks into a record, or asks a loop for its counter, before it asks the sandbox."""
        if not isinstance(node.node, nodes.Name):
            return super().visit_Getattr(node, frame)
        name, attribute = frame.symbols.ref(node.node.name), repr(node.attr)
        if node.node.name == "loop" and node.attr in _COUNTERS:
            self.write(f"({name}.{node.attr} if {name}.__class__ is LoopContext else ")
        else:
            self.write(
                f"({name}[{attribute}] if isinstance({name}, environment.record) and {attribute} in {name} else "
            )
        super().visit_Getattr(node, frame)
        self.write(")")
        return None

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile:
            self.write("environment.escaped(")
        else:
            super()._output_child_pre(node, frame, finalize)

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile:
            self.write(")")
        else:
            super()._output_child_post(node, frame, finalize)


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

    code_generator_class = _Printing
    escaped = staticmethod(escaped)
    record = Record

    def __init__(self, bundle: Templates) -> None:
        xml = is_xml(bundle.main)
        super().__init__(
            loader=DictLoader(bundle.texts),
            autoescape=lambda name: xml or is_xml(name or ""),
            undefined=Lacking,
            finalize=plain,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            newline_sequence="\r\n" if "\r\n" in bundle.texts.get(bundle.main, "") else "\n",
            extensions=["jinja2.ext.loopcontrols"],
            auto_reload=False,
            cache_size=-1,
            optimized=False,  # see `_Printing`
        )
        self.filters.update(FILTERS)
        del self.filters["random"], self.globals["lipsum"]
        length = self.filters["length"]
        self.filters["length"] = self.filters["count"] = lambda value: length(_countable(value))

    def compile(self, source: Any, name: str | None = None, *rest: Any, **options: Any) -> Any:
        """Compiles a template whose filters know the name of the field they are applied to."""
        if isinstance(source, str):
            source = self.parse(source, name)
            _name_fields(source)
        return super().compile(source, name, *rest, **options)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`; in a record the field comes first, then what every record has (`each`, `raw` …)."""
        if not isinstance(obj, Record):
            return super().getattr(obj, attribute)
        try:
            return obj[attribute]
        except KeyError:
            return getattr(obj, attribute) if attribute in ATTRIBUTES else self._lacking(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`; in a record only a field."""
        if not isinstance(obj, Record):
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (KeyError, TypeError):
            return self._lacking(obj, argument)

    def _lacking(self, obj: Record, name: Any) -> Any:
        return self.undefined(f"the record has no field {name!r}", obj=obj, name=name)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Also refuses to read the clock by way of a moment (`now.now()`)."""
        if isinstance(obj, date) and attr in _CLOCKS:
            return False
        return super().is_safe_attribute(obj, attr, value)


def is_xml(name: str) -> bool:
    """Whether a template of this name makes XML, and is escaped."""
    return name.endswith(".xml.j2")


class OnePass:
    """Marks what can be read only once and therefore not be counted."""

    __slots__ = ()


def _countable(value: Any) -> Any:
    if isinstance(value, OnePass):
        raise TemplateFault(
            "records cannot be counted before they are read",
            why="they are streamed, and pass once",
            remedy="Count in the loop (loop.index), or take records|list where the files are small.",
        )
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
