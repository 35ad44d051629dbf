"""What keys mean together: the rules over a configuration whose keys are right one by one.

Owns the faults that need more than one key to see. Yields troubles; it never stops at the first and never builds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cegid_daemon.config.faults import Trouble, dotted
from cegid_daemon.config.layouts import expression_trouble, frozen, troubles_in
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.config.schema import OPTIONS, EndpointTable, LayoutTable, OutputTable, Root, RouteTable
from cegid_daemon.config.values import names_in
from cegid_daemon.rewrite.expressions import compile_text

_CHECKS = ("xml", "columns", "none")


def troubles_of_tables(root: Root, read: Callable[[str], str]) -> Iterator[Trouble]:
    """What is wrong with each endpoint, layout and route by itself; `read` gives the text of a file or OSError."""
    for name, endpoint in root.endpoint.items():
        yield from _endpoint(("endpoint", name), endpoint)
    for name, layout in root.layout.items():
        yield from troubles_in(name, layout)
    for name, route in root.route.items():
        yield from _route(("route", name), route, root.layout.get(route.layout))
        yield from _check(("route", name, "output", "check"), route.output, read)


def _endpoint(path: KeyPath, endpoint: EndpointTable) -> Iterator[Trouble]:
    scheme = endpoint.url.partition(":")[0]
    for key in sorted(endpoint.model_fields_set - {"url"} - OPTIONS[scheme]):
        yield Trouble((*path, key), f"{key!r} means nothing to a {scheme}: endpoint", "", "Remove it.")


def _route(path: KeyPath, route: RouteTable, layout: LayoutTable | None) -> Iterator[Trouble]:
    if route.template and route.target is None:
        yield Trouble(path, "a route with a template needs a target", "", f"Set {dotted((*path, 'target'))}.")
    if route.target is not None and not route.template:
        yield Trouble(path, "a route with a target needs a template", "", f"Set {dotted((*path, 'template'))}.")
    if layout is not None and route.template is None and route.target is None and not layout.buffer:
        remedy = "Give the route a template and a target, or take a layout with `buffer`."
        yield Trouble(path, "the route makes nothing", f"its layout {route.layout!r} sets no buffers either", remedy)
    if route.source.archive and route.source.after != "archive":
        why = f"after = {route.source.after!r} archives nothing"
        yield Trouble((*path, "source", "archive"), "'archive' does nothing", why, "Remove one of the two.")
    if route.output.batch and route.target is not None and "part" not in names_in(route.target.name):
        why = "its parts would overwrite each other"
        remedy = 'Put the part into the name, such as "{{ source.stem }}.{{ part }}.xml".'
        yield Trouble((*path, "target", "name"), "output.batch needs a name with `part`", why, remedy)
    if route.retry.model_fields_set >= {"first", "longest"} and route.retry.first > route.retry.longest:
        yield Trouble((*path, "retry", "longest"), "the longest pause is shorter than the first", "", "Make it longer.")
    if layout is not None:
        at = (*path, "source", "unique")
        yield from expression_trouble(at, route.source.unique, compile_text, frozen(route.layout, layout))


def _check(path: KeyPath, output: OutputTable, read: Callable[[str], str]) -> Iterator[Trouble]:
    check = output.check
    if check is None or check in _CHECKS:
        return
    name = check.removeprefix("xsd:")
    if name == check or not name:
        yield Trouble(path, f"there is no check {check!r}", "", 'Write "xml", "xsd:FILE", "columns" or "none".')
        return
    try:
        read(name)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield Trouble(path, f"schema {name!r} cannot be read", why, "Create it, or mend the path.")
