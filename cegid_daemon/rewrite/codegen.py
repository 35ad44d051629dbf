"""Jinja's compiler, as records by the hundred thousand want it.

Owns the code that a template becomes: values are finalized and escaped by one call, a field of a record and a loop's
counter are looked up in place, and each value that is printed marks its record (`provenance`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

from cegid_daemon.rewrite.flow import AT_ONCE, KEPT, SHOWN, flow_of

_COUNTERS = frozenset({"first", "index", "index0", "last"})  # of a loop
_REPLACED = ("Macro", "Markup", "markup_join", "str_join")  # names of generated code that lose origins
_OWN = ("record", "mark", "shown", "keep_field", "plain", "escaped")  # names that generated code has beside Jinja's


class RecordCodeGenerator(CodeGenerator):
    """Computes nothing while it compiles: `'x' * 9999999999` costs the worker that renders it, not who compiles it."""

    def write_commons(self) -> None:
        """Also names what makes texts of texts, and what is done to each value."""
        super().write_commons()
        for name in _REPLACED + _OWN:
            self.writeline(f"{name} = environment.{name}")

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """What is printed and made of kept values is noted by their origins."""
        if flow_of(node) != SHOWN:
            return super().visit(node, *args, **kwargs)
        self._begin_output(args[0])
        super().visit(node, *args, **kwargs)
        self.write(")")
        return None

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802  # named by Jinja
        """Looks into a record, or asks a loop for its counter, before it asks the sandbox."""
        if not isinstance(node.node, nodes.Name):
            return super().visit_Getattr(node, frame)
        name = frame.symbols.ref(node.node.name)
        if node.node.name == "loop" and node.attr in _COUNTERS:
            self.write(f"({name}.{node.attr} if {name}.__class__ is LoopContext else ")
            super().visit_Getattr(node, frame)
            self.write(")")
            return None
        return self._look_into(name, repr(node.attr), node, frame, super().visit_Getattr)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802  # named by Jinja
        """Looks into a record before it asks the sandbox."""
        if not (isinstance(node.node, nodes.Name) and isinstance(node.arg, nodes.Const)):
            return super().visit_Getitem(node, frame)
        name = frame.symbols.ref(node.node.name)
        return self._look_into(name, repr(node.arg.value), node, frame, super().visit_Getitem)

    def _look_into(
        self, name: str, field: str, node: nodes.Expr, frame: Frame, otherwise: Callable[[Any, Frame], None]
    ) -> None:
        """Reads a field where the name stands for a record; a value that is printed at once is noted in passing."""
        flow, is_field = flow_of(node), f"isinstance({name}, record) and {field} in {name}"
        if flow == KEPT:
            self.write(f"(keep_field({name}, {field}) if {is_field} else ")
        elif flow == AT_ONCE and frame.buffer is None:
            self.write(f"({name}[{field}] if {is_field} and ({name}.printed or mark({name})) else ")
        elif flow == AT_ONCE:
            noted = f"({name}.noted is {frame.buffer} or {frame.buffer}.note({name}))"
            self.write(f"({name}[{field}] if {is_field} and {noted} else ")
        else:
            self.write(f"({name}[{field}] if {is_field} else ")
        self._begin_output(frame, noted=flow == AT_ONCE)
        otherwise(node, frame)
        self.write("))")

    def _begin_output(self, frame: Frame, *, noted: bool = True) -> None:
        """A value that goes into the output, or into the text of a block or macro, is noted by its origin."""
        into = "shown(" if frame.buffer is None else f"{frame.buffer}.take("
        self.write(into if noted else "(")

    def buffer(self, frame: Frame) -> None:
        """A text that is kept, with its origins."""
        frame.buffer = self.temporary_identifier()
        self.writeline(f"{frame.buffer} = environment.Buffer()")

    def start_write(self, frame: Frame, node: nodes.Node | None = None) -> None:
        """What a block of calls or filters has made is printed now, or kept."""
        super().start_write(frame, node)
        self._begin_output(frame)

    def end_write(self, frame: Frame) -> None:
        """The end of `start_write`."""
        self.write(")")
        super().end_write(frame)

    def simple_write(self, s: str, frame: Frame, node: nodes.Node | None = None) -> None:
        """Pieces of other templates and blocks are printed already."""
        super().start_write(frame, node)
        self.write(s)
        super().end_write(frame)

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, _node: nodes.Expr, frame: Frame, _finalize: CodeGenerator._FinalizeInfo) -> None:
        if frame.eval_ctx.volatile:
            self.write("(escaped if context.eval_ctx.autoescape else plain)(")
        else:
            self.write("escaped(" if frame.eval_ctx.autoescape else "plain(")

    def _output_child_post(self, _node: nodes.Expr, _frame: Frame, _finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write(")")
