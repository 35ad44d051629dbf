"""Builds the object graph from a configuration; the only module that knows every class.

An `Installation` is what one process holds for its whole life: the state folder's lock, the journal, the workshop. From
it and a configuration come the sources (`once` looks at them itself) and the works a daemon runs.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType

from cegid_daemon.acquaintance import Acquaintance
from cegid_daemon.alerts import sender
from cegid_daemon.carrying import SWEEP, Looked
from cegid_daemon.clock import SteadyClock
from cegid_daemon.clock_watch import ClockWatch
from cegid_daemon.config import Config
from cegid_daemon.daemon import Daemon, Service, Works
from cegid_daemon.dropsites import Landing, drop_sites
from cegid_daemon.endpoints import API_SCHEMES, Endpoint, Reachable, open_api, open_endpoint
from cegid_daemon.endpoints.protocol import Telling
from cegid_daemon.errors import EndpointError
from cegid_daemon.holding import StateFolder
from cegid_daemon.housekeeping import Housekeeping
from cegid_daemon.journal import Journal
from cegid_daemon.lanes import Task
from cegid_daemon.leftovers import Leftovers
from cegid_daemon.listing_faults import clear_other_places
from cegid_daemon.model import LogPolicy, Route
from cegid_daemon.ownership import Identification, OldMarks, folder_claims
from cegid_daemon.pipeline import Pipeline
from cegid_daemon.pipeline.early_keys import EarlyKeys
from cegid_daemon.restored import report_taken_back
from cegid_daemon.scanner import Source
from cegid_daemon.sources import Sourcing, marked
from cegid_daemon.trouble import Troubles
from cegid_daemon.vigil import Vigil
from cegid_daemon.watcher import Watcher
from cegid_daemon.workshop import Workshop

log = logging.getLogger(__name__)

LOCAL_THREADS = 3  # passes over local sources at the same time: a large file holds up one of them


def utc_now() -> datetime:
    """The clock of the real world; everywhere below, `now` is handed in."""
    return datetime.now(UTC)


def journal_path(config: Config) -> Path:
    """Where the journal lies."""
    return config.state / "journal.sqlite"


def places_of(config: Config) -> set[str]:
    """Where the endpoints of a configuration are. Asks none of them."""
    return {open_endpoint(spec).where for spec in config.endpoints.values() if spec.scheme not in API_SCHEMES}


def identification(config: Config, instance: str) -> Identification:
    """Who we are to another daemon that finds our mark; a blank `instance` has no name yet."""

    def is_held(state: str) -> bool:
        try:
            return StateFolder(Path(state)).is_held()
        except OSError:  # of another user
            return False

    return Identification.of(instance, config.state, is_held)


class Installation(AbstractContextManager["Installation"]):
    """The lock, the journal and the workshop of a state folder, for the one process that carries messages.

    Raises AlreadyRunning, JournalError.
    """

    def __init__(self, config: Config, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.clock = clock
        self._steady = SteadyClock()
        self._told: dict[str, set[str]] = {}  # entries that are no files, by source: told once, not at each reload
        self._folder = StateFolder(config.state)
        self._spool = config.state / "spool"
        with ExitStack() as undone:
            self._folder.hold()
            undone.callback(self._folder.release)
            self.journal = Journal.open(journal_path(config))
            undone.callback(self.journal.close)
            ClockWatch(self.journal, clock).check()
            report_taken_back(self.journal, clock())
            self.workshop = Workshop(journal_path(config), self._spool)
            self.workshop.clear_spool()
            self.journal.payloads.drop_unsealed()
            undone.callback(self.workshop.stop)
            self.workshop.start()
            undone.pop_all()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.workshop.stop()
        self.journal.close()
        self._folder.release()

    def crew(self, config: Config, *, beat: Callable[[], None], stopping: Callable[[], bool]) -> Crew:
        """The sources of a configuration and what carries their messages."""
        self.journal.book.settings.first_values(config.stores.values(), now=self.clock())
        self._warn(config)
        specs = config.endpoints.items()
        endpoints = {name: open_endpoint(spec, beat) for name, spec in specs if spec.scheme not in API_SCHEMES}
        apis = {name: open_api(spec, beat) for name, spec in specs if spec.scheme in API_SCHEMES}
        self._make_folders(config, endpoints)
        for route in config.routes.values():
            if route.log.redact:
                self.journal.masking.expect(route.name, route.log.redact)
        pipeline = Pipeline(
            self.journal, self.workshop, endpoints, config.routes, config.recipes, beat, apis=apis,
            requests=config.requests, clock=self._steady,
        )  # fmt: skip
        troubles = Troubles()
        me = identification(config, self.journal.ledger.instance())
        claims = folder_claims(marked(config.routes, endpoints), me, self.journal)
        sources = Sourcing(
            config,
            endpoints,
            apis,
            self.journal,
            pipeline,
            troubles,
            self._spool,
            self.clock,
            stopping,
            me,
            claims,
            self._told,
        ).sources()
        folders = {(one.endpoint.where, one.spec.folder) for one in sources}
        clear_other_places(self.journal, {f"{where}/{folder}".rstrip("/") for where, folder in folders})
        foreign = [one.foreign_subject for one in sources if isinstance(one, Source)]
        marks = OldMarks(self.journal, endpoints, claims, foreign)
        leftovers = Leftovers(
            self.journal, pipeline, config.routes, folders, self.clock, sources=[one.name for one in sources],
            places={endpoint.where for endpoint in endpoints.values()}, remove_marks=marks.remove,
        )  # fmt: skip
        return Crew({**endpoints, **apis}, sources, troubles, leftovers, self._alarm(config))

    def _alarm(self, config: Config) -> Vigil | None:
        if not config.alert.urls:
            return None
        send = sender([url.reveal() for url in config.alert.urls], where=f"{socket.gethostname()}, {config.state}")
        return Vigil(self.journal, config.alert.events, config.alert.quiet, send, self.clock)

    def _warn(self, config: Config) -> None:
        for warning in config.warnings:
            log.warning("%s", warning)

    def policies(self, config: Config) -> dict[str, LogPolicy]:
        """How long the log keeps what, by route and by the names that routes had before."""
        routes = config.routes
        old = {old: route.log for route in routes.values() for old in route.moved_from}
        old |= {before: routes[name].log for before, name in self.journal.moves.old_names(routes).items()}
        return {**old, **{name: route.log for name, route in routes.items()}}

    def warn_of_edits(self, config: Config) -> None:
        """Tells where operators' settings hold instead of the configured ones: once a start, not once a pass."""
        for difference in self.journal.book.settings.differences(config.stores.values()):
            log.warning("%s", difference)

    def _make_folders(self, config: Config, endpoints: Mapping[str, Endpoint]) -> None:
        """Makes each local folder once, when its route is first started. One that is missing later is a fault."""
        wanted = [(route.source.endpoint, route.source.folder) for route in config.routes.values()]
        wanted += [(route.target.endpoint, route.target.folder) for route in config.routes.values() if route.target]
        wanted += [(one.rejects.endpoint, one.rejects.folder) for one in config.routes.values() if one.rejects]
        for name, folder in wanted:
            spec = config.endpoints[name]
            if spec.scheme != "file":
                continue
            endpoint = endpoints[name]
            if self.journal.places.made(endpoint.where, folder, self.clock()):
                try:
                    Path(spec.url.removeprefix("file:")).mkdir(parents=True, exist_ok=True)
                    endpoint.make_folder(folder)
                except (OSError, EndpointError) as error:
                    log.warning("The folder %s of %s could not be made: %s", folder, endpoint.where, error)


@dataclass(frozen=True)
class Crew:
    """What one configuration works with."""

    endpoints: Mapping[str, Reachable]
    sources: Sequence[Looked]
    troubles: Troubles
    leftovers: Leftovers
    alarm: Vigil | None = None  # None: nobody is told

    def close(self) -> None:
        """Ends the connections of every endpoint."""
        for endpoint in self.endpoints.values():
            endpoint.close()


@dataclass(frozen=True)
class SourceTask:
    """A source as a task of a lane."""

    source: Looked
    name: str
    lane: str

    clock: Callable[[], datetime]

    def run(self) -> datetime:
        """One pass. A clock that jumped meanwhile does not put off the next by more than the longest pause."""
        pauses = [SWEEP, self.source.spec.poll, *(route.retry.longest for route in self.source.routes)]
        return min(self.source.look().next_look, self.clock() + max(pauses))


class FolderHints:
    """The watcher as a service: events of local folders wake the task of their source."""

    name = "watcher"

    def __init__(self, tasks: Sequence[SourceTask], wake: Callable[[str], None]) -> None:
        self._watcher = Watcher(lambda key: wake(str(key)))
        for task in tasks:
            place = task.source.endpoint.where
            if place.startswith("file:"):
                self._watcher.watch(task.name, str(Path(place.removeprefix("file:")) / task.source.spec.folder))
                if isinstance(task.source, Source):
                    task.source.hear_of_writers(partial(self._watcher.is_being_written, task.name))

    def start(self) -> None:
        """Begins to listen."""
        self._watcher.start()

    def stop(self) -> None:
        """Ends."""
        self._watcher.stop()

    def tend(self) -> None:
        """Watches folders that were made again."""
        self._watcher.tend()


Face = Callable[[Installation, Config, Crew, "Daemon"], Sequence[Service]]
"""What shows the daemon to people: services of a floor above, made anew for each configuration."""


def _faceless(_installation: Installation, _config: Config, _crew: Crew, _daemon: Daemon) -> Sequence[Service]:
    return []


def works(
    installation: Installation, load: Callable[[], Config], *, face: Face = _faceless
) -> Callable[[Daemon], Works]:
    """What a daemon builds at its start and at every reload. `load` raises ConfigurationError."""

    def build(daemon: Daemon) -> Works:
        config = load()
        installation.warn_of_edits(config)
        crew = installation.crew(config, beat=daemon.pulse.beat, stopping=daemon.stopping)
        sources = [
            SourceTask(source, source.name, lane_of(source, config), installation.clock) for source in crew.sources
        ]
        policies = installation.policies(config)
        housekeeping = Housekeeping(
            installation.journal, policies, installation.clock, daemon.stopping, beat=daemon.pulse.beat
        )
        early_keys = EarlyKeys(
            installation.journal, config.recipes, policies, installation.clock, daemon.stopping, beat=daemon.pulse.beat
        )
        tasks: list[Task] = [*sources, housekeeping, early_keys, crew.leftovers, *([crew.alarm] if crew.alarm else [])]
        services: list[Service] = [FolderHints(sources, daemon.wake)]
        tasks += _acquaintances(crew, {task.lane for task in sources}, installation)
        landing = Landing(crew.sources, daemon.wake)
        services += drop_sites(config.sites, landing, installation.clock)
        return Works(
            tasks=tasks,
            services=services,
            threads=lambda lane: LOCAL_THREADS if lane == "local" else 1,
            progress=lambda: installation.workshop.progress,
            close=crew.close,
            summary=lambda: _summary(config),
            faces=face(installation, config, crew, daemon),
        )

    return build


def _acquaintances(crew: Crew, lanes: set[str], installation: Installation) -> list[Acquaintance]:
    """Those with the servers that have a lane: one without is used by no route."""
    return [
        Acquaintance(name, endpoint, installation.journal, installation.clock)
        for name, endpoint in crew.endpoints.items()
        if name in lanes and isinstance(endpoint, Telling)
    ]


def lane_of(source: Looked, config: Config) -> str:
    """The lane of a source: that of the first endpoint that is not local, so that a dead one holds up only itself."""
    names = [source.spec.endpoint, *(route.target.endpoint for route in source.routes if route.target)]
    return next((name for name in names if config.endpoints[name].scheme != "file"), "local")


def _summary(config: Config) -> str:
    lines = [f"{len(config.routes)} route(s), state in {config.state}."]
    lines += [f"Route {route.name}: {_work(config, route)}" for route in config.routes.values() if not route.answers]
    return "\n".join(lines)


def _work(config: Config, route: Route) -> str:
    source = route.source
    if source.request:
        return f"asks {config.endpoints[source.endpoint].url} every {source.poll}"
    return f"drop {', '.join(source.match)} into {_shown(config, source.endpoint, source.folder)}"


def _shown(config: Config, endpoint: str, folder: str) -> str:
    return f"{config.endpoints[endpoint].url.removeprefix('file:')}/{folder}".rstrip("/")
