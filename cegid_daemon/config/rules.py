"""What keys mean together: the rules over a configuration whose keys are right one by one.

Owns the faults that need more than one key to see. Yields troubles; it never stops at the first and never builds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from cegid_daemon.config.answers import troubles_of_apis
from cegid_daemon.config.console_table import troubles_of_console
from cegid_daemon.config.expressions import troubles_of_unique
from cegid_daemon.config.faults import Trouble, dotted
from cegid_daemon.config.layout_tables import LayoutTable
from cegid_daemon.config.layouts import frozen, troubles_in
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.config.names import names_in
from cegid_daemon.config.schema import OPTIONS, EndpointTable, OutputTable, Root, RouteTable
from cegid_daemon.config.values import NAME
from cegid_daemon.rewrite.recipe import WITH_MARKS


def troubles_of_tables(root: Root) -> Iterator[Trouble]:
    """What is wrong with each endpoint, layout and route by itself."""
    yield from troubles_of_console(root.console)
    for name, endpoint in root.endpoint.items():
        yield from _endpoint(("endpoint", name), endpoint)
    for name, layout in root.layout.items():
        yield from troubles_in(name, layout)
    yield from troubles_of_apis(root)
    yield from _moves(root)
    for name, route in root.route.items():
        yield from _route(("route", name), route, root.layout.get(route.layout))
        yield from _output(("route", name, "output"), route.output)
        if route.target is not None and route.target.reply is not None:
            yield from _output(("route", name, "target", "reply", "output"), route.target.reply.output)


def _endpoint(path: KeyPath, endpoint: EndpointTable) -> Iterator[Trouble]:
    scheme = endpoint.url.partition(":")[0]
    for key in sorted(endpoint.model_fields_set - {"url"} - OPTIONS[scheme]):
        yield Trouble((*path, key), f"{key!r} means nothing to a {scheme}: endpoint", "", "Remove it.")
    if "passphrase" in OPTIONS[scheme] and endpoint.passphrase is not None and endpoint.private_key is None:
        remedy = "Set private_key as well, or remove it."
        yield Trouble((*path, "passphrase"), "'passphrase' does nothing", "there is no private_key", remedy)


def _route(path: KeyPath, route: RouteTable, layout: LayoutTable | None) -> Iterator[Trouble]:
    yield from _making(path, route, layout)
    if route.source.archive and route.source.after != "archive":
        why = f"after = {route.source.after!r} archives nothing"
        yield Trouble((*path, "source", "archive"), "'archive' does nothing", why, "Remove one of the two.")
    if "leave_changed" in route.source.model_fields_set and route.source.after != "leave":
        why = f"after = {route.source.after!r} leaves nothing"
        yield Trouble((*path, "source", "leave_changed"), "'leave_changed' does nothing", why, "Remove one of the two.")
    if route.output.batch and route.target is not None and "part" not in names_in(route.target.name):
        why = "its parts would overwrite each other"
        remedy = 'Put the part into the name, such as "{{ source.stem }}.{{ part }}.xml".'
        yield Trouble((*path, "target", "name"), "output.batch needs a name with `part`", why, remedy)
    if layout is not None:
        at = (*path, "source", "unique")
        yield from troubles_of_unique(at, route.source.unique, frozen(route.layout, layout))


def _moves(root: Root) -> Iterator[Trouble]:
    """The messages of a route that is gone go to one route, and only once it is gone."""
    claimed: dict[str, str] = {}
    for name, route in root.route.items():
        path = ("route", name, "moved_from")
        for old in route.moved_from:
            if not re.fullmatch(NAME, old):
                remedy = "Write the name of the route; the answers of an API to it go with it."
                yield Trouble(path, f"{old!r} is no name of a route", "", remedy)
            elif old in root.route:
                why = "its messages are its own" if old != name else "a route cannot move from itself"
                remedy = f"Remove route {old!r}, or take its name out of moved_from."
                yield Trouble(path, f"route {old!r} is still configured", why, remedy)
            elif old in claimed:
                why = f"route {claimed[old]!r} names it as well" if claimed[old] != name else "it stands here twice"
                yield Trouble(path, f"the messages of route {old!r} can go to one route only", why, "Name it once.")
            claimed.setdefault(old, name)


def _making(path: KeyPath, route: RouteTable, layout: LayoutTable | None) -> Iterator[Trouble]:
    """A route makes files (template and target) or sets buffers (a layout with `buffer`), never half of one."""
    if layout is not None and layout.buffer:
        for key in sorted(route.model_fields_set & {"template", "target", "output"}):
            why = f"layout {route.layout!r} sets buffers, and such a route makes no file"
            yield Trouble((*path, key), f"{key!r} does nothing", why, "Remove it, or take another layout.")
    elif route.template is None and route.target is None and layout is not None:
        remedy = "Give the route a template and a target, or take a layout with `buffer`."
        yield Trouble(path, "the route makes nothing", f"its layout {route.layout!r} sets no buffers either", remedy)
    elif (route.template is None) != (route.target is None):
        there, lacking = ("target", "template") if route.template is None else ("template", "target")
        yield Trouble(path, f"a route with a {there} needs a {lacking}", "", f"Set {dotted((*path, lacking))}.")


def _output(path: KeyPath, output: OutputTable) -> Iterator[Trouble]:
    if output.bom and codecs.lookup(output.encoding).name not in WITH_MARKS:
        why, remedy = f"{output.encoding} has none", "Remove bom, or take utf-8 or utf-16."
        yield Trouble((*path, "bom"), "there is no byte order mark to write", why, remedy)
