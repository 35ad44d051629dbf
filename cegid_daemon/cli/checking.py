"""`check`: is everything here fit to run? Configuration and templates, state folder, journal, endpoints."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cegid_daemon import __version__
from cegid_daemon.cli.listing_check import accepted_names, check_listing, foreign_marks, tried_abilities
from cegid_daemon.cli.opening import NO_JOURNAL, Invocation, configured
from cegid_daemon.cli.output import fault_json, json_option, note, one_line, plural, print_json, say
from cegid_daemon.cli.target_check import target_faults, temporaries_of
from cegid_daemon.errors import ConfigurationError, EndpointError, JournalUnavailable, Place

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.endpoints import Endpoint, Poster, Reachable
    from cegid_daemon.journal import Journal
    from cegid_daemon.ownership import Identification


@dataclass(slots=True)
class Findings:
    """What a check found out."""

    about: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    endpoints: list[dict[str, Any]] = field(default_factory=list)

    @property
    def out_of_reach(self) -> bool:
        """Whether an endpoint that was asked did not answer well."""
        return any(one["error"] for one in self.endpoints)

    @property
    def listing_faults(self) -> list[str]:
        """What is wrong with the listings of the endpoints that answered."""
        return [f"{one['endpoint']}: {fault}" for one in self.endpoints for fault in one["listing_faults"]]

    @property
    def target_faults(self) -> list[str]:
        """Which routes cannot deliver to the endpoints that answered."""
        return [fault for one in self.endpoints for fault in one["target_faults"]]


@click.command()
@click.option("--live", is_flag=True, help="Also log in to each endpoint and try out what it can do.")
@json_option
@configured
@click.pass_context
def check(ctx: click.Context, live: bool, as_json: bool) -> None:
    """Check configuration, templates and journal.

    Nothing is changed. Every fault of the configuration is named with file, line, key and remedy; the exit code is 2
    then. With --live a small file is put into each folder of each endpoint under a temporary name, read back, renamed
    and removed, and what the server can do is shown and kept, so that `run` notices when it changes. A listing that is
    not understood, or that names files the server then denies, and a target whose kind of temporary names does not
    work, end with exit code 1.
    """
    invocation = ctx.ensure_object(Invocation)
    try:
        config = invocation.config()
    except ConfigurationError as error:
        if as_json:
            print_json({"faults": [fault_json(fault) for fault in error.faults or (error,)]})
        raise
    findings = Findings(about=_about(config), warnings=list(config.warnings))
    _look_at_templates(config, findings)
    _look_at_folders(config, findings)
    _look_at_journal(invocation, config, findings)
    if live:
        me = _identification(invocation, config)
        findings.endpoints = [_asked(config, name, me) for name in config.endpoints]
        findings.warnings += [text for one in findings.endpoints for text in one["foreign_marks"]]
        _keep_cards(invocation, config, findings)
    _print(findings, as_json)
    ctx.exit(1 if findings.out_of_reach or findings.listing_faults or findings.target_faults else 0)


def _about(config: Config) -> dict[str, str]:
    return {
        "version": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "configuration": str(config.path),
        "routes": ", ".join(config.routes),
        "state": str(config.state),
    }


def _look_at_templates(config: Config, findings: Findings) -> None:
    """A name that nothing gives fails the message that comes to it, unless the template asks whether it is there."""
    from cegid_daemon.rewrite.surmise import unknown_names

    bundles = {recipe.templates.main: recipe.templates for recipe in config.recipes.values() if recipe.templates}
    for _, bundle in sorted(bundles.items()):
        for name, place in unknown_names(bundle):
            findings.warnings.append(f"{name!r} is nothing a template sees ({place}): a message that comes to it fails")


def _look_at_folders(config: Config, findings: Findings) -> None:
    """The state folder must be usable; drop folders of this machine may be missing until the first start."""
    from cegid_daemon.starter import route_folders

    _refuse_unwritable(config.state)
    for folder in route_folders(config):
        if not folder.is_dir():
            findings.warnings.append(f"the folder {str(folder)!r} is not there; the first start makes it")
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            findings.warnings.append(f"the folder {str(folder)!r} may not be read and written by this user")


def _refuse_unwritable(state: Path) -> None:
    nearest = next(folder for folder in (state, *state.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise JournalUnavailable(
            "the state folder cannot be used", where=Place(file=str(state)),
            why=f"{str(nearest)!r} is no folder this user may write to",
            remedy="Run the check as the daemon's user, or give that user the folder.",
        )  # fmt: skip


def _look_at_journal(invocation: Invocation, config: Config, findings: Findings) -> None:
    with invocation.reading(config) as journal:
        findings.warnings += _foreign_folders(config, journal)
        if journal is None:
            findings.about["journal"] = NO_JOURNAL
            return
        findings.about["journal"] = (
            f"{journal.connection.path}, {plural(_size(journal.connection.path), 'byte')}, whole"
        )
        if journal.continuity.is_behind():
            findings.warnings.append(
                "the journal lacks work that its marker remembers, or is a restored backup: the next start says what "
                "may be missing or sent twice, and holds the messages that are open in it (docs/operations.md)"
            )
        differences = journal.book.settings.differences(config.stores.values())
        findings.warnings += [str(difference) for difference in differences]
        findings.warnings += [str(route) for route in journal.moves.gone(config.routes)]


def _foreign_folders(config: Config, journal: Journal | None) -> list[str]:
    """Source folders of this machine that bear the mark of another daemon."""
    from cegid_daemon.bootstrap import identification, utc_now
    from cegid_daemon.endpoints import API_SCHEMES, open_endpoint
    from cegid_daemon.ownership import look_into
    from cegid_daemon.sources import marked

    specs = config.endpoints.items()
    endpoints = {name: open_endpoint(spec) for name, spec in specs if spec.scheme not in API_SCHEMES}
    instance = journal.ledger.known_instance() if journal is not None else ""
    return look_into(marked(config.routes, endpoints), identification(config, instance), utc_now())


def _size(path: Path) -> int:
    return path.stat().st_size


def _identification(invocation: Invocation, config: Config) -> Identification:
    from cegid_daemon.bootstrap import identification

    with invocation.reading(config) as journal:
        return identification(config, journal.ledger.known_instance() if journal is not None else "")


def _asked(config: Config, name: str, me: Identification) -> dict[str, Any]:
    """What an endpoint answers: its abilities, and how many entries its folders have."""
    from cegid_daemon.endpoints import API_SCHEMES, open_api, open_endpoint

    spec = config.endpoints[name]
    if spec.scheme in API_SCHEMES:
        api = open_api(spec)
        return _answer(name, api, lambda: _greeted(api))
    endpoint = open_endpoint(spec)
    folders = _folders_of(config, name)
    faults: list[str] = []
    foreign: list[str] = []

    def list_folders() -> dict[str, int]:
        counts = {}
        for folder in folders:
            counts[folder], found = check_listing(endpoint, folder, accepted_names(config, name, folder))
            faults.extend(found)
            foreign.extend(foreign_marks(config, name, endpoint, folder, me))
        return counts

    found = _answer(name, endpoint, list_folders, close=False)
    found["listing_faults"], found["foreign_marks"] = faults, foreign
    try:
        if not found["error"]:
            found["card"] = _card(endpoint, {folder: temporaries_of(config, name, folder) for folder in folders})
            found |= tried_abilities(endpoint, found["card"]["tried"])
            found["target_faults"] = target_faults(config, name, found["card"]["tried"])
    except EndpointError as error:
        found["error"] = one_line(str(error))
    finally:
        endpoint.close()
    return found


def _card(endpoint: Endpoint, folders: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the endpoint says of itself, and what round trips in its folders, by their temporary names, showed."""
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.endpoints.card import card_of

    wanted = dict(folders) or {"": ()}
    cards = {folder: card_of(endpoint, folder, utc_now, temporaries) for folder, temporaries in wanted.items()}
    first = next(iter(cards.values()))
    tried = {folder or ".": dict(card.tried) for folder, card in cards.items()}
    return {"tried": tried, "facts": dict(first.facts), "measured": dict(first.measured)}


def _keep_cards(invocation: Invocation, config: Config, findings: Findings) -> None:
    """Keeps the cards in the journal, if there is one, and warns where a server is not the one it was."""
    from cegid_daemon.acquaintance import changes
    from cegid_daemon.bootstrap import utc_now

    found = [one for one in findings.endpoints if one.get("card", {}).get("facts")]
    with invocation.reading(config) as journal:
        if journal is None or not found:
            return
    with invocation.writing(config) as journal:
        for one in found:
            kept = journal.cards.card(one["place"])
            for change in changes(kept.facts, one["card"]["facts"]) if kept else ():
                findings.warnings.append(f"the server of endpoint {one['endpoint']} has changed: {change}")
            tried = {f"{folder}: {name}": said for folder, trip in one["card"]["tried"].items()
                     for name, said in trip.items()}  # fmt: skip
            journal.cards.keep(one["place"], one["card"]["facts"], tried, utc_now())


def _greeted(api: Poster) -> dict[str, int]:
    api.greet()
    return {}


def _answer(name: str, endpoint: Reachable, ask: Callable[[], dict[str, int]], *, close: bool = True) -> dict[str, Any]:
    abilities = endpoint.abilities
    found: dict[str, Any] = {
        "endpoint": name, "place": endpoint.where, "renames": abilities.renames, "replaces": abilities.replaces,
        "remote": abilities.remote, "posts": abilities.posts, "folders": {}, "error": None,
        "listing_faults": [], "target_faults": [], "foreign_marks": [],
    }  # fmt: skip
    try:
        found["folders"] = ask()
    except EndpointError as error:
        found["error"] = one_line(str(error))
    finally:
        if close:
            endpoint.close()
    return found


def _folders_of(config: Config, name: str) -> list[str]:
    routes = config.routes.values()
    sources = [route.source.folder for route in routes if route.source.endpoint == name]
    targets = [route.target.folder for route in routes if route.target and route.target.endpoint == name]
    return sorted({*sources, *targets})


def _print(findings: Findings, as_json: bool) -> None:
    if as_json:
        print_json({**findings.about, "warnings": findings.warnings, "endpoints": findings.endpoints, "faults": []})
        return
    for name, text in findings.about.items():
        say(f"{name:<13} {text}")
    for one in findings.endpoints:
        say(f"endpoint      {one['endpoint']}: {one['error'] or _abilities(one)}")
        for line in _card_lines(one.get("card")):
            say(f"              {line}")
    for warning in findings.warnings:
        note(f"warning: {one_line(warning)}")
    for fault in (*findings.listing_faults, *findings.target_faults):
        note(f"endpoint {fault}")
    say(_verdict(findings))


def _verdict(findings: Findings) -> str:
    if findings.out_of_reach:
        return "An endpoint did not answer."
    if findings.target_faults:
        return "A route cannot deliver."
    return "A listing is not understood." if findings.listing_faults else "No fault found."


def _card_lines(card: dict[str, Any] | None) -> list[str]:
    if card is None:
        return []
    trips = [f"in {folder}: {_said(trip)}" for folder, trip in card["tried"].items()]
    return [*trips, *(_said(part) for part in (card["facts"], card["measured"]) if part)]


def _said(part: dict[str, str]) -> str:
    return ", ".join(f"{name} {one_line(said)}" for name, said in part.items())


def _abilities(one: dict[str, Any]) -> str:
    if one["posts"]:
        return f"answers at {one['place']}: takes requests; its token is tried with the first of them"
    folders = ", ".join(f"{folder or '.'} ({plural(count, 'entry').replace('entrys', 'entries')})"
                        for folder, count in one["folders"].items())  # fmt: skip
    renames = "renames" if one["renames"] else "cannot rename"
    replaces = "replaces" if one["replaces"] else "cannot replace"
    return f"answers at {one['place']}: {renames}, {replaces}; {folders or 'used by no route'}"
