"""The names that a template asks for and does not set itself.

Owns that looking for them computes nothing: Jinja's own search compiles the template, and computes its constants
(`'x'|center(9999999999)`) on the way.
"""

from __future__ import annotations

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.meta import TrackingCodeGenerator


class _NameFinder(TrackingCodeGenerator):
    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


def undeclared_names(tree: nodes.Template) -> set[str]:
    """The names that a template which can be compiled looks up while it is rendered."""
    assert tree.environment is not None  # the parser's
    finder = _NameFinder(tree.environment)
    finder.optimizer = None
    finder.visit(tree)
    return finder.undeclared_identifiers
