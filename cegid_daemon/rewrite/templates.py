"""Templates: gathered into a frozen bundle, compiled once, rendered in pieces; and the names of delivered files.

Owns what a bundle holds, what a template sees (`names`), and that every failure of a template is a `TemplateFault` with
template, line and record. Reads no file: `freeze` asks a loader, everything else works on the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any

from jinja2 import Template, TemplateSyntaxError, UndefinedError, nodes

from cegid_daemon.errors import ANYTHING, FIELD_VALUE, NOTHING, CegidDaemonError, Place, TemplateFault
from cegid_daemon.rewrite import filters
from cegid_daemon.rewrite.literals import literal
from cegid_daemon.rewrite.nested import NestedText
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.rewrite.recipe import Templates
from cegid_daemon.rewrite.record import Record
from cegid_daemon.rewrite.sandbox import Sandbox
from cegid_daemon.rewrite.seen import MessageSeen, SourceSeen

LONGEST_NAME = 255
_NAME = "target.name"
_NAMED = re.compile(r"'([^']*)'")
_LONGEST_SUFFIX = 32
_LONGEST_SAID = 500  # characters of what Python says of a value that a template met
_REMEDY = "Correct the template, then replay the message."


def names(job: Job) -> dict[str, Any]:
    """What every template sees of a message, besides `records` and `part`."""
    path = PurePosixPath(job.source_name)
    return {
        "message": MessageSeen(job.message_id, job.message_name, job.received_at),
        "source": SourceSeen(job.source_name, path.stem, path.suffix, job.source_folder),
        "route": job.route,
        "store": job.store,
        "now": job.now,
    }


def freeze(main: str, loader: Callable[[str], str | None]) -> Templates:
    """The template `main` with all it extends, includes and imports, as `loader` gives their texts (None: not there).

    Raises `TemplateFault` for a template that is not there, is named by an expression, or cannot be compiled.
    """
    parser = Sandbox(Templates(main, {}))
    texts: dict[str, str] = {}
    open_names: list[tuple[str, Place, bool]] = [(main, Place(), False)]
    while open_names:
        name, wanted_by, optional = open_names.pop()
        if name in texts:
            continue
        text = loader(name)
        if text is not None:
            texts[name] = text
            with _reading(name):
                tree = parser.parse(text, name)
                _refuse_unknown_words(tree, name, parser)
                open_names.extend(_references(tree, name))
        elif not optional:
            remedy = "Create it in the templates folder, or correct the name."
            raise TemplateFault(f"there is no template {name!r}", where=wanted_by, remedy=remedy)
    bundle = Templates(main, dict(sorted(texts.items())))
    compile(bundle)
    return bundle


def compile(bundle: Templates) -> Script:
    """The bundle, ready to render. Compiled once and kept; a syntax error in any of its texts is a `TemplateFault`."""
    return _script(bundle.main, tuple(sorted(bundle.texts.items())))


class Script:
    """A compiled bundle."""

    def __init__(self, bundle: Templates) -> None:
        sandbox = Sandbox(bundle)
        self.name = bundle.main
        self._texts = list(bundle.texts.values())
        self._main = _compiled(sandbox, bundle.main)
        for name in bundle.texts:
            _compiled(sandbox, name)

    def render(self, names: Mapping[str, Any]) -> Iterator[str]:
        """The output in pieces, as the template makes it; what fails in the template is a `TemplateFault`.

        Other errors of the house (a broken row found while `records` is read) pass as they are.
        """
        try:
            yield from self._main.root_render_func(self._main.new_context(dict(names)))
        except TemplateFault as fault:
            raise _certified(fault).at(**_place(fault.__traceback__)) from fault.__cause__
        except (CegidDaemonError, MemoryError):
            raise
        except Exception as error:
            where = Place(**{"file": self.name, **_place(error.__traceback__)})
            failed = TemplateFault(_said(error), where=where, remedy=_REMEDY)
            raise failed.quoting(*self._quoted(error)) from error

    def _quoted(self, error: Exception) -> tuple[str, str]:
        """A name that is not there stands in the templates themselves; any other error may quote what it met."""
        if isinstance(error, RecursionError):
            return NOTHING, ""
        said = str(error)
        if isinstance(error, UndefinedError) and '"' not in said and all(map(self._holds, _NAMED.findall(said))):
            return NOTHING, ""
        return ANYTHING, f"the template failed on a value ({type(error).__name__})"

    def _holds(self, name: str) -> bool:
        return name.endswith(" object") or any(name in text for text in self._texts)


def file_name(template: str, names: Mapping[str, Any]) -> str:
    """The name of a delivered file, from the target's name template; at most 255 bytes, by a shorter stem.

    Raises `TemplateFault` for a name that is blank, `.` or `..`, or holds `/`, a backslash or NUL.
    """
    name = _rendered_name(template, names)
    over = _size(name) - LONGEST_NAME
    source = names["source"]
    if over > 0 and _size(source.stem) > over:
        stem = _cut(source.stem, _size(source.stem) - over)
        shorter = SourceSeen(stem + source.suffix, stem, source.suffix, source.folder)
        name = _rendered_name(template, {**names, "source": shorter})
    if not name.strip() or name in (".", "..") or any(char in name for char in "/\\\0"):
        remedy = "A name holds no / and no backslash; folders belong into target.folder."
        raise TemplateFault(f"{name!r} is no name for a file", where=Place(field=_NAME), remedy=remedy)
    return _shortened(name)


@lru_cache(maxsize=64)
def _script(main: str, texts: tuple[tuple[str, str], ...]) -> Script:
    return Script(Templates(main, dict(texts)))


def _rendered_name(template: str, names: Mapping[str, Any]) -> str:
    return "".join(compile(Templates(_NAME, {_NAME: template})).render(names))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What Jinja or Python cannot read or compile is the fault of the template."""
    try:
        yield
    except TemplateSyntaxError as error:
        raise _syntax(error, name) from error
    except RecursionError as error:
        raise _unreadable(name, "it is nested too deeply") from error
    except (SyntaxError, ValueError, OverflowError, MemoryError) as error:  # Python's, of the code that Jinja made
        raise _unreadable(name, getattr(error, "msg", "") or str(error) or "it is too large") from error


def _compiled(sandbox: Sandbox, name: str) -> Template:
    with _reading(name):
        return sandbox.get_template(name)


def _unreadable(name: str, why: str) -> TemplateFault:
    what = "the template cannot be compiled"
    return TemplateFault(what, where=Place(file=name), why=why, remedy="Correct the template.")


def _syntax(error: TemplateSyntaxError, name: str) -> TemplateFault:
    where = Place(file=error.name or name, line=error.lineno)
    return TemplateFault(error.message or "the template cannot be read", where=where, remedy="Correct the template.")


def _refuse_unknown_words(template: nodes.Template, name: str, sandbox: Sandbox) -> None:
    """Filters and tests that are not there: inside an `if` Jinja itself finds them only when it comes to them."""
    for modifier in template.find_all(nodes.EvalContextModifier):
        if not all(isinstance(option.value, nodes.Const | nodes.Name) for option in modifier.options):
            where = Place(file=name, line=modifier.lineno)
            raise TemplateFault("autoescape takes true, false or a name", where=where, remedy="Correct the template.")
    for node in template.find_all((nodes.Filter, nodes.Test)):
        known, what = (sandbox.filters, "filter") if isinstance(node, nodes.Filter) else (sandbox.tests, "test")
        if node.name not in known:
            where = Place(file=name, line=node.lineno)
            raise TemplateFault(f"there is no {what} {node.name!r}", where=where, remedy="Correct the template.")


def _references(template: nodes.Template, name: str) -> Iterator[tuple[str, Place, bool]]:
    """The templates named in one: name, where it is named, whether it may be missing."""
    for node in template.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        where = Place(file=name, line=node.lineno)
        wanted = list(_static_names(node.template, where))  # type: ignore[attr-defined]
        optional = getattr(node, "ignore_missing", False) or len(wanted) > 1
        yield from ((one, where, optional) for one in wanted)


def _static_names(node: nodes.Expr, where: Place) -> Iterable[str]:
    try:
        value = literal(node)
    except nodes.Impossible:
        value = None
    wanted = [value] if isinstance(value, str) else value
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(one, str) for one in wanted):
        raise TemplateFault(
            "a template is named by an expression",
            where=where,
            why="every message must be reproducible from the texts it was made with",
            remedy="Write its name in quotation marks; choose between templates with {% if %}.",
        )
    return wanted


def _place(trace: TracebackType | None) -> dict[str, Any]:
    """The innermost template, its line, and the record at hand, from a traceback."""
    found: dict[str, Any] = {}
    while trace is not None:
        frame = trace.tb_frame
        template = frame.f_globals.get("__jinja_template__")
        if template is not None:
            found.update(file=template.name, line=template.get_corresponding_lineno(trace.tb_lineno))
            found.update(("record", one) for one in _records_at_hand(frame.f_locals))
        trace = trace.tb_next
    return found


def _certified(fault: TemplateFault) -> TemplateFault:
    """A filter knows its field by the template's text alone: whether the value is that field's, the record tells."""
    trace = fault.__traceback__
    while trace is not None and fault.value is not None and fault.quotes == ANYTHING:
        for one in trace.tb_frame.f_locals.values():
            if isinstance(one, Record) and _is_field(one, fault.where.field, fault.value):
                fault.quotes = FIELD_VALUE
        trace = trace.tb_next
    return fault


def _is_field(record: Record, name: str, value: str) -> bool:
    try:
        held = record[name]
    except KeyError:
        return False
    return held.__class__ is not NestedText and str(filters.plain(held)) == value


def _records_at_hand(variables: Mapping[str, Any]) -> Iterator[int]:
    """The numbers of the records a template's loops stand at, outermost first."""
    for one in variables.values():
        if isinstance(one, Record):
            yield one.number or (one.parent.number if one.parent is not None else 0)


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the template calls itself without end"
    said = str(error)
    return (said if len(said) <= _LONGEST_SAID else f"{said[:_LONGEST_SAID]}…") or type(error).__name__


def _size(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))


def _cut(text: str, room: int) -> str:
    """The start of the text that takes at most `room` bytes, characters left whole."""
    while _size(text) > room:
        text = text[:-1]
    return text


def _shortened(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    suffix = suffix if _size(suffix) <= _LONGEST_SUFFIX else ""
    return _cut(name.removesuffix(suffix), LONGEST_NAME - _size(suffix)) + suffix
