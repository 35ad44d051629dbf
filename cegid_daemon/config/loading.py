"""Reads a configuration file: TOML text → checked tables → frozen objects, with every fault at once.

Owns the order of the checks, and that a fault in one table hides none in another: unknown keys are set aside, then
tables with other faults, and the rules go over the rest.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from cegid_daemon import resources
from cegid_daemon.config import crossing, later
from cegid_daemon.config.answers import ANSWER_LAYOUT
from cegid_daemon.config.build import Folders, config_of, crossings
from cegid_daemon.config.faults import Trouble, closest, placed, troubles_of
from cegid_daemon.config.layouts import with_presets
from cegid_daemon.config.lines import key_lines
from cegid_daemon.config.loose_files import loose_files
from cegid_daemon.config.rules import troubles_of_tables
from cegid_daemon.config.schema import Root
from cegid_daemon.config.settings import Config
from cegid_daemon.config.sites import troubles_of_sites
from cegid_daemon.config.values import Surroundings
from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.rewrite.surmise import unknown_types

Document = dict[str, Any]


def load(path: Path, *, presets: Collection[str] = ()) -> Config:
    """The configuration in the file `path`; among its layouts are these shipped ones, whether a route has them or not.

    Raises ConfigurationError whose `faults` holds every fault found, each with file, key and, where known, line.
    """
    path = Path(path).absolute()
    text = _text(path)
    document, troubles = later.separate(_document(path, text))
    folders = _folders(path.parent, document)
    layouts, found = with_presets(_table(document, "layout"), _layouts_named(document).union(presets))
    surroundings = _surroundings(path, document, folders)
    if isinstance(document.get("layout", {}), dict):
        document = {**document, "layout": layouts}
    root, more = _validated(document, surroundings)
    troubles += found + more + list(_ruled(root, folders))
    if troubles:
        _raise(path, text, troubles)
    return config_of(path, root, folders, loose_files(path, document, surroundings.environment))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a BOM
    except FileNotFoundError as error:
        remedy = "Name another with --config, or make a starter folder: cegid-daemon init DIR."
        raise _fault("there is no such configuration file", Place(file=str(path)), "", remedy) from error
    except OSError as error:
        remedy = "Make it readable for the daemon's user."
        raise _fault("the configuration cannot be read", Place(file=str(path)), error.strerror or "", remedy) from error
    except UnicodeDecodeError as error:
        place = Place(file=str(path), line=error.object[: error.start].count(b"\n") + 1)
        raise _fault("the configuration is not UTF-8", place, "TOML always is", "Save it as UTF-8.") from error


def _document(path: Path, text: str) -> Document:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = re.search(r" \(at line (\d+), column (\d+)\)", said)
        line, column = (int(found[1]), int(found[2])) if found else (text.count("\n") + 1, 0)
        why = said[: found.start()] if found else said.removesuffix(" (at end of document)")
        place = Place(file=str(path), line=line, column=column)
        raise _fault(
            "the configuration is not TOML", place, why, "Correct this line; further faults show after it."
        ) from error


def _fault(what: str, where: Place, why: str, remedy: str) -> ConfigurationError:
    """The one fault that stands alone: nothing more can be known."""
    fault = ConfigurationError(what, where=where, why=why, remedy=remedy)
    fault.faults = (fault,)
    return fault


def _folders(here: Path, document: Document) -> Folders:
    named = document.get("templates", "templates")
    return Folders(here, Path(os.path.normpath(here / (named if isinstance(named, str) else "templates"))))


def _table(document: Document, name: str) -> Document:
    table = document.get(name, {})
    return table if isinstance(table, dict) else {}


def _layouts_named(document: Document) -> set[str]:
    routes = [route for route in _table(document, "route").values() if isinstance(route, dict)]
    named = {route["layout"] for route in routes if isinstance(route.get("layout"), str)}
    return named | {layout for route in routes for layout in _of_answers(route)}


def _of_answers(route: Document) -> Iterator[str]:
    """The layout of the API's answers, where the route has an API for its target."""
    target = _table(route, "target")
    if target.get("method"):
        layout = _table(target, "reply").get("layout", ANSWER_LAYOUT)
        yield layout if isinstance(layout, str) else ANSWER_LAYOUT


def _surroundings(path: Path, document: Document, folders: Folders) -> Surroundings:
    names = {name: set(_table(document, name)) for name in ("endpoint", "store", "layout")}
    names["layout"] |= resources.layout_presets().keys()
    return Surroundings(
        folder=folders.here,
        environment=dict(os.environ),
        private=not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO),
        names=names,
        freeze=folders.freeze,
    )


def _validated(document: Document, surroundings: Surroundings) -> tuple[Root, list[Trouble]]:
    """The tables without a fault, and what is wrong with the others."""
    try:
        return Root.model_validate(document, context=surroundings), []
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False)
        unknown = {one["loc"] for one in found if one["type"] == "extra_forbidden"}
        faulty = {one["loc"][:2] for one in found if one["loc"] not in unknown}
        kept = _without(_without_keys(document, unknown), faulty)
        return Root.model_validate(kept, context=surroundings), troubles_of(error, Root)


def _without_keys(value: Any, keys: Collection[tuple[int | str, ...]]) -> Any:
    """The document without single keys, named by their paths: an unknown key hides no other fault of its table."""
    below = {path[0] for path in keys if len(path) == 1}
    deeper = {part: {path[1:] for path in keys if path[0] == part and len(path) > 1} for part in {k[0] for k in keys}}
    if isinstance(value, dict):
        return {key: _without_keys(one, deeper.get(key, ())) for key, one in value.items() if key not in below}
    if isinstance(value, list):
        return [_without_keys(one, deeper.get(at, ())) for at, one in enumerate(value)]
    return value


def _without(document: Document, faulty: set[tuple[int | str, ...]]) -> Document:
    kept: Document = {}
    for name, value in document.items():
        if (name,) in faulty or (name in ("console", "defaults", "alert") and any(one[0] == name for one in faulty)):
            continue
        if isinstance(value, dict):
            kept[name] = {key: inner for key, inner in value.items() if (name, key) not in faulty}
        else:
            kept[name] = value
    return kept


def _ruled(root: Root, folders: Folders) -> Iterator[Trouble]:
    yield from troubles_of_tables(root)
    yield from troubles_of_sites(root, folders.here)
    yield from crossing.troubles_between(crossings(root, folders))
    yield from _troubles_of_types(root, folders)


def _troubles_of_types(root: Root, folders: Folders) -> Iterator[Trouble]:
    """A record type that a template asks for and no file can have: its rows would be left out without a word."""
    for name, route in root.route.items():
        layout = root.layout.get(route.layout)
        if layout is None or layout.kind != "records" or route.template is None:
            continue
        inner = [kind for kind in layout.types if kind != (layout.head or next(iter(layout.types)))]
        for asked, place in unknown_types(folders.freeze(route.template), inner):
            remedy = closest(asked, inner, f"Record types inside a record: {', '.join(inner) or 'none'}.")
            yield Trouble(
                ("route", name, "template"), f"the template asks for each({asked!r})",
                f"layout {route.layout!r} has no such record type inside a record ({place})", remedy,
            )  # fmt: skip


def _raise(path: Path, text: str, troubles: list[Trouble]) -> NoReturn:
    lines = key_lines(text)
    faults = sorted((placed(one, str(path), lines) for one in troubles), key=lambda fault: fault.where.line)
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    remedy = "Correct them, then run: cegid-daemon check."
    raise ConfigurationError(
        f"the configuration has {count}", faults=tuple(faults), where=Place(file=str(path)), remedy=remedy
    )
