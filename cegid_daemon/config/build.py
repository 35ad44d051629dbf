"""Makes the frozen objects out of tables that have passed every rule.

Owns defaults that depend on other keys (`exists`, `check`, `[defaults]`), relative paths, and the freezing of templates
and layouts into recipes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from cegid_daemon import resources
from cegid_daemon.config import layouts
from cegid_daemon.config.answers import REPORT, answering, endpoints_of, is_api, of_answers, posting, requests_in
from cegid_daemon.config.console_table import warnings_of_console
from cegid_daemon.config.crossing import Crossing, address, warnings_between
from cegid_daemon.config.schema import (
    EndpointTable,
    LogTable,
    OutputTable,
    RetryTable,
    Root,
    RouteTable,
    SourceTable,
    TargetTable,
)
from cegid_daemon.config.schemas import schema_named, schema_text
from cegid_daemon.config.settings import AlertSpec, Config, ConsoleSpec
from cegid_daemon.config.sites import sites_of, warnings_of_sites
from cegid_daemon.config.tables import Table
from cegid_daemon.errors import Place, TemplateFault
from cegid_daemon.model import (
    Direction,
    EndpointSpec,
    LogPolicy,
    RejectsSpec,
    RetryPolicy,
    Route,
    SourceSpec,
    Store,
    TargetSpec,
    answer_route,
)
from cegid_daemon.rewrite.recipe import Output, Recipe, Templates
from cegid_daemon.rewrite.templates import compile as compile_template
from cegid_daemon.rewrite.templates import freeze

_SHAPING = ("anyascii", "jinja2", "lxml")  # libraries that shape what a rewriting makes
_Policy = TypeVar("_Policy", bound=Table)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a configuration's relative paths lead."""

    here: Path
    templates: Path
    _frozen: dict[str, Templates] = field(default_factory=dict)  # many routes share a template

    def freeze(self, name: str) -> Templates:
        """The template with all it stands on; raises TemplateFault if it cannot be used."""
        if name not in self._frozen:
            bundle = freeze(name, self._template)
            compile_template(bundle)
            self._frozen[name] = bundle
        return self._frozen[name]

    def _template(self, name: str) -> str | None:
        """The text of a template: an own one, else a shipped one; None if there is neither. Line ends are kept."""
        if name.startswith("/") or ".." in name.split("/"):
            return None
        for folder in (self.templates, resources.templates()):
            if _is_file(folder / name):
                _refuse_outside(folder, name)
                return _template_text(folder / name, name)
        return None

    def url(self, url: str) -> str:
        """An endpoint's address; a relative file: path starts at the configuration's folder."""
        scheme, _, rest = url.partition(":")
        if scheme != "file":
            return url
        return f"file:{os.path.normpath(self.here / rest.removeprefix('//'))}"


def config_of(path: Path, root: Root, folders: Folders, warnings: Sequence[str] = ()) -> Config:
    """The configuration of `root`, which must have passed every rule; `warnings` are those of its file."""
    return Config(
        path=path,
        folder=folders.here,
        state=_absolute(folders.here, root.state),
        templates=folders.templates,
        stores={name: Store(name, **dict(table)) for name, table in root.store.items()},
        endpoints={name: _endpoint(name, table, folders) for name, table in root.endpoint.items()},
        routes=_routes(root),
        recipes=_recipes(root, folders),
        layouts={name: layouts.frozen(name, table) for name, table in root.layout.items()},
        requests={name: folders.freeze(name) for name in requests_in(root)},
        console=ConsoleSpec(**dict(root.console)),
        alert=AlertSpec(**dict(root.alert)),
        sites=sites_of(root, folders.here),
        warnings=(*_warnings(root, folders), *warnings),
    )


def _routes(root: Root) -> dict[str, Route]:
    """The routes, and behind them those that carry what APIs answer to them."""
    routes = {name: _route(name, table, root) for name, table in root.route.items()}
    return routes | {answer_route(name): answering(routes[name], target) for name, target in posting(root)}


def _recipes(root: Root, folders: Folders) -> dict[str, Recipe]:
    recipes = {name: _recipe(table, root, folders, table.title or name) for name, table in root.route.items()}
    for name, target in posting(root):
        layout, template, output, target_name = of_answers(target)
        recipes[answer_route(name)] = replace(
            recipes[name],
            layout=layouts.frozen(layout, root.layout[layout]),
            templates=folders.freeze(template),
            output=_output(output, template, folders),
            target_name=target_name,
            unique="",
            remarks="keep",
        )
    return recipes


def crossings(root: Root, folders: Folders) -> list[Crossing]:
    """What of each route matters to the others."""
    return [_crossing(name, route, root, folders) for name, route in root.route.items()]


def _crossing(name: str, route: RouteTable, root: Root, folders: Folders) -> Crossing:
    def at(place: SourceTable | TargetTable) -> str:
        # an endpoint with faults of its own is known by its name only
        table = root.endpoint.get(place.endpoint)
        if is_api(table):
            return f"{name} of {place.endpoint}"  # nothing lies at an API, so nothing can be taken twice
        return address(folders.url(table.url) if table else f"?{place.endpoint}", place.folder)

    target = route.target
    if target is None:
        return Crossing(name, _source(route.source), at(route.source))
    replaces = _target(target, Direction(route.direction)).exists == "replace"
    return Crossing(name, _source(route.source), at(route.source), at(target), target.name, target.temporary, replaces)


def _endpoint(name: str, table: EndpointTable, folders: Folders) -> EndpointSpec:
    options = {key: getattr(table, key) for key in sorted(table.model_fields_set - {"url"})}
    return EndpointSpec(name, folders.url(table.url), options)


def _route(name: str, table: RouteTable, root: Root) -> Route:
    direction = Direction(table.direction)
    return Route(
        name=name,
        title=table.title or name,
        direction=direction,
        store=table.store,
        source=_source(table.source),
        layout=table.layout,
        template=table.template or "",
        target=_target(table.target, direction) if table.target else None,
        retry=RetryPolicy(**dict(_over(root.defaults.retry, table.retry, RetryTable))),
        log=LogPolicy(**dict(_over(root.defaults.log, table.log, LogTable))),
        rejects=_rejects(table),
        moved_from=table.moved_from,
    )


def _over(default: _Policy, own: _Policy, kind: type[_Policy]) -> _Policy:
    """The route's own keys over those of `[defaults]`."""
    return kind.model_construct(**{key: getattr(one, key) for one in (default, own) for key in one.model_fields_set})


def _source(table: SourceTable) -> SourceSpec:
    return SourceSpec(**{**dict(table), "request": table.request or ""})


def _target(table: TargetTable, direction: Direction) -> TargetSpec:
    exists = table.exists or ("version" if direction is Direction.EXPORT else "replace")
    own = {key: value for key, value in dict(table).items() if key not in ("reply", "report")}
    return TargetSpec(**{**own, "exists": exists, "report": table.report or REPORT})


def _rejects(table: RouteTable) -> RejectsSpec | None:
    if table.rejects is None or table.target is None:
        return None
    return RejectsSpec(**{**dict(table.rejects), "endpoint": table.rejects.endpoint or table.target.endpoint})


def _recipe(route: RouteTable, root: Root, folders: Folders, title: str) -> Recipe:
    return Recipe(
        layout=layouts.frozen(route.layout, root.layout[route.layout]),
        templates=folders.freeze(route.template) if route.template else None,
        output=_output(route.output, route.template or "", folders),
        target_name=route.target.name if route.target else "",
        unique=route.source.unique,
        title=title,
        versions={name: version(name) for name in _SHAPING},
        remarks=route.remarks,
    )


def _output(table: OutputTable, template: str, folders: Folders) -> Output:
    check = table.check or ("xml" if template.endswith(".xml.j2") else "none")
    schema_name = schema_named(check)
    return Output(
        encoding=table.encoding,
        transliterate=table.transliterate,
        newline=table.newline,
        bom=table.bom,
        check="xsd" if schema_name else check,
        schema=schema_text(folders.here / schema_name) if schema_name else "",
        schema_name=schema_name,
        batch=table.batch,
        separator=table.separator,
    )


def _warnings(root: Root, folders: Folders) -> list[str]:
    routes = root.route.values()
    places = {place for route in routes for place in endpoints_of(route)}
    layouts_used = {route.layout for route in routes} | {of_answers(target)[0] for _, target in posting(root)}
    unused = [
        *(f"endpoint {name!r} is used by no route" for name in root.endpoint if name not in places),
        *(f"store {name!r} is used by no route" for name in root.store if name not in {one.store for one in routes}),
        *(f"layout {name!r} is used by no route" for name in root.layout if name not in layouts_used),
    ]
    if "templates" in root.model_fields_set and not folders.templates.is_dir():
        unused.append(f"the templates folder {str(folders.templates)!r} is not there; only shipped templates are used")
    if not root.route:
        unused.append("there is no route: nothing will be carried")
    more = [*warnings_of_console(root.console), *warnings_of_sites(root)]
    return [*unused, *more, *warnings_between(crossings(root, folders))]


def _absolute(here: Path, name: str) -> Path:
    return Path(os.path.normpath(here / name))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _refuse_outside(folder: Path, name: str) -> None:
    """A link in the templates folder must not lead to what is no template."""
    leads_to = (folder / name).resolve()
    if not leads_to.is_relative_to(folder.resolve()):
        raise TemplateFault(
            "the template is a link that leads out of the templates folder", where=Place(file=name),
            why=f"it leads to {leads_to}", remedy="Put a copy of it into the templates folder.",
        )  # fmt: skip


def _template_text(path: Path, name: str) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise TemplateFault("the template is not UTF-8", where=Place(file=name), remedy="Save it as UTF-8.") from error
    except OSError as error:
        raise TemplateFault("the template cannot be read", where=Place(file=name), why=error.strerror or "",
                            remedy="Make it readable for the daemon's user.") from error  # fmt: skip
