"""Every place that is looked at, made from a configuration: folders, APIs, their answers, rejects folders.

Owns which kind of source a route needs, and which routes share one. Opens nothing and looks at nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cegid_daemon.carrying import Looked
from cegid_daemon.clock import boot_time
from cegid_daemon.config import Config
from cegid_daemon.endpoints import Endpoint, Poster
from cegid_daemon.journal import Journal
from cegid_daemon.masks import Masks
from cegid_daemon.model import Route
from cegid_daemon.ownership import FolderClaim, ForeignMark, Identification, MarkedSource, address
from cegid_daemon.pipeline import Pipeline
from cegid_daemon.poller import Poll, Replies
from cegid_daemon.rejects import Rejects
from cegid_daemon.scanner import Source
from cegid_daemon.trouble import Troubles


@dataclass(frozen=True, slots=True)
class Sourcing:
    """What all sources of one configuration share."""

    config: Config
    endpoints: Mapping[str, Endpoint]
    apis: Mapping[str, Poster]
    journal: Journal
    pipeline: Pipeline
    troubles: Troubles
    spool: Path
    clock: Callable[[], datetime]
    stopping: Callable[[], bool]
    me: Identification
    claims: Mapping[str, FolderClaim]  # on the folders that are marked, by address
    told: MutableMapping[str, set[str]]  # entries that are no files and of which this process told, by source

    def sources(self) -> list[Looked]:
        """Those that take first, then those that carry answers: one pass over all of them leaves nothing behind."""
        groups = sharing(self.config.routes)
        taking = [self._taking(routes) for routes in groups if not routes[0].answers]
        answering = [self._replies(routes[0]) for routes in groups if routes[0].answers]
        rejects = [self._rejects(route) for route in self.config.routes.values() if route.rejects is not None]
        return [*taking, *answering, *rejects]

    def _taking(self, routes: list[Route]) -> Looked:
        source = routes[0].source
        if not source.request:
            endpoint = self.endpoints[source.endpoint]
            claim = self.claims.get(address(endpoint.where, source.folder))
            masks = Masks(source.match, source.ignore)
            foreign = ForeignMark(endpoint, source.folder, masks, routes[0].name, self.me, self.journal.notices)
            return Source(
                routes, self.config.stores, endpoint, self.journal, self.pipeline, self.troubles, self.clock,
                self.stopping, claim or foreign,
                boot_time, self.told,
            )  # fmt: skip
        return Poll(
            routes, self.config.stores, self.apis[source.endpoint], self.config.requests[source.request],
            self.config.recipes[routes[0].name], self.journal, self.pipeline, self.troubles, self.spool, self.clock,
            self.stopping,
        )  # fmt: skip

    def _replies(self, route: Route) -> Looked:
        posting = self.config.routes[route.answers]
        return Replies(
            route, posting, self.config.stores, self.apis[route.source.endpoint], self.journal, self.pipeline,
            self.troubles, self.clock, self.stopping,
        )  # fmt: skip

    def _rejects(self, route: Route) -> Looked:
        assert route.rejects is not None
        endpoint = self.endpoints[route.rejects.endpoint]
        return Rejects(route, route.rejects, endpoint, self.journal, self.pipeline.contacts, self.troubles, self.clock)


def sharing(routes: Mapping[str, Route]) -> list[list[Route]]:
    """Routes in groups that share one source: what comes from it is taken once for all of a group."""
    groups: dict[tuple[object, ...], list[Route]] = {}
    for route in routes.values():
        source = route.source
        alike = (source.endpoint, source.folder, source.match, source.ignore, source.request, route.answers)
        groups.setdefault(alike, []).append(route)
    return list(groups.values())


def marked(routes: Mapping[str, Route], endpoints: Mapping[str, Endpoint]) -> list[MarkedSource]:
    """The sources whose folders bear our mark."""
    found: list[MarkedSource] = []
    for route in routes.values():
        source, endpoint = route.source, endpoints.get(route.source.endpoint)
        if endpoint is None or source.request or route.answers or source.owner_mark is False:
            continue
        if source.owner_mark or not endpoint.abilities.remote:
            found.append(MarkedSource(route.name, endpoint, source.folder, Masks(source.match, source.ignore)))
    return found
