"""The folders of a route: what lies in the inbox, what was processed, what failed and why.

Only folders that belong to a route are ever listed, and only names that stand in their listing are ever opened: a path
typed into an address leads nowhere. Files are originals: who may see them is asked of `visibility`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from cegid_daemon.console import texts
from cegid_daemon.console.logpages import download
from cegid_daemon.console.turns import Turns
from cegid_daemon.console.visibility import Visibility
from cegid_daemon.console.visit import Visit
from cegid_daemon.endpoints import Endpoint, open_endpoint
from cegid_daemon.errors import Absent, EndpointError, NotThere, Refused
from cegid_daemon.journal.words import HEAD, encoding_of
from cegid_daemon.logs import masked
from cegid_daemon.masks import Masks
from cegid_daemon.model import EndpointSpec, Listed, Route, escape_name, unescape_name

_PATIENCE = 20.0  # seconds that a listing waits for those before it
_SHOWN = 500  # files listed
_TEXT = 64 << 10  # bytes of a file shown in place
_ERROR = ".error.txt"


class Places:
    """Endpoints of the console's own, connected when first looked at; one call at a time each, none for another."""

    def __init__(self, specs: Mapping[str, EndpointSpec]) -> None:
        self._specs = specs
        self._turns = {name: Turns(f"endpoint {name}", _PATIENCE) for name in specs}
        self._open: dict[str, Endpoint] = {}

    def list(self, endpoint: str, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:
        """A folder's entries; none where it is not there. Those that are not wanted may lack their time.

        Raises EndpointError.
        """
        with self._turns[endpoint].take():
            try:
                return self._endpoint(endpoint).list(folder, wanted)
            except Absent:
                return []

    def read(self, endpoint: str, folder: str, name: str) -> Generator[bytes, None, None]:
        """A file's bytes, over a connection of their own: a slow browser holds nobody up. Raises EndpointError."""
        opened = open_endpoint(self._specs[endpoint])
        try:
            with opened.read(folder, name) as chunks:
                yield from chunks
        finally:
            opened.close()

    def _endpoint(self, name: str) -> Endpoint:
        if name not in self._open:
            self._open[name] = open_endpoint(self._specs[name])
        return self._open[name]

    def close(self) -> None:
        """Ends the connections."""
        for name, turns in self._turns.items():
            with turns.lock:
                if name in self._open:
                    self._open.pop(name).close()


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a folder. `name` is escaped, as it is shown and stands in addresses."""

    name: str
    size: int
    at: datetime | None
    regular: bool
    explained: str  # the name of the text that says why it failed; blank: none


def routes(visit: Visit) -> Response:
    """The routes with their folders."""
    return visit.page("files.html", routes=_with_folders(visit), route=None, urls=_urls(visit))


def _with_folders(visit: Visit) -> dict[str, Route]:
    """The routes that take files; those that ask an API, or carry its answers, do not."""
    routes = visit.ground.config.routes
    return {name: route for name, route in routes.items() if not _asks_api(visit, route)}


def _asks_api(visit: Visit, route: Route) -> bool:
    return visit.ground.config.endpoints[route.source.endpoint].scheme in ("http", "https")


def _urls(visit: Visit) -> dict[str, str]:
    endpoints = visit.ground.config.endpoints
    return {name: masked(endpoints[route.source.endpoint].url) for name, route in _with_folders(visit).items()}


def files(visit: Visit) -> Response:
    """One folder of a route."""
    route, which = _route(visit), visit.asked("in", "inbox")
    days: list[str] = []
    listed: list[Listed] = []
    fault = ""
    try:
        days = _days(visit, route) if which == "processed" else []
        day = visit.asked("day") or (days[0] if days else "")
        listed = _listed(visit, route, which, day)
    except EndpointError as error:
        day, fault = "", str(error)
    rows = _rows(listed)
    return visit.page(
        "files.html", routes=_with_folders(visit), route=route, which=which, rows=rows[:_SHOWN],
        more=max(0, len(rows) - _SHOWN), days=days, day=day, fault=fault,
        readable=Visibility.of(visit).file(route, _folder(route, which, day)),
        place=masked(visit.ground.config.endpoints[route.source.endpoint].url),
    )  # fmt: skip


def _route(visit: Visit) -> Route:
    name = str(visit.request.path_params["route"])
    route = visit.ground.config.routes.get(name)
    if route is None:
        raise NotThere(f"there is no route {name!r}", remedy="Choose one from the list of files.")
    if _asks_api(visit, route):
        raise Refused(
            f"route {name} takes its messages from an API", remedy="There are no files; its log shows all of it."
        )
    return route


def _places(visit: Visit) -> Places:
    places: Places = visit.request.app.state.places
    return places


def _folder(route: Route, which: str, day: str) -> str:
    """One of the folders of a route; `day` must stand in the listing of days."""
    source = route.source
    below = {"inbox": "", "failed": "failed", "processed": source.archive or f"processed/{day}".rstrip("/")}
    if which not in below:
        raise NotThere(f"a route has no folder {which!r}", remedy="Choose inbox, processed or failed.")
    return "/".join(part for part in (source.folder, below[which]) if part)


def _days(visit: Visit, route: Route) -> list[str]:
    """The days there are processed files of, newest first; none where the route files them elsewhere."""
    if route.source.archive:
        return []
    folder = "/".join(part for part in (route.source.folder, "processed") if part)
    found = _places(visit).list(route.source.endpoint, folder)
    return sorted((one.name for one in found if not one.regular and _is_day(one.name)), reverse=True)


def _is_day(name: str) -> bool:
    return len(name) == 10 and name.replace("-", "").isascii() and name.replace("-", "").isdigit()


def _listed(visit: Visit, route: Route, which: str, day: str) -> list[Listed]:
    if which == "processed" and not route.source.archive and not _is_day(day):
        return []
    wanted = Masks(route.source.match, route.source.ignore).takes if which == "inbox" else None
    return _places(visit).list(route.source.endpoint, _folder(route, which, day), wanted)


def _rows(listed: list[Listed]) -> list[FileRow]:
    """Newest first; texts that explain a failure stand with their file."""
    names = {one.name for one in listed}
    own = {one.name for one in listed if one.name.endswith(_ERROR) and one.name.removesuffix(_ERROR) in names}
    rows = [_row(one, names) for one in listed if one.name not in own and (one.regular or not _is_folder_of_ours(one))]
    return sorted(rows, key=lambda row: (row.at is None, -(row.at.timestamp() if row.at else 0), row.name))


def _is_folder_of_ours(listed: Listed) -> bool:
    return listed.name in ("processed", "failed")


def _row(listed: Listed, names: set[str]) -> FileRow:
    at = datetime.fromtimestamp(listed.identity.mtime_ns // 10**9, UTC) if listed.identity.mtime_ns else None
    error = listed.name + _ERROR
    return FileRow(
        escape_name(listed.name), listed.identity.size, at, listed.regular, escape_name(error) if error in names else ""
    )


@dataclass(frozen=True, slots=True)
class _Chosen:
    route: Route
    folder: str
    which: str
    day: str
    listed: Listed


def _chosen(visit: Visit) -> _Chosen:
    """The file an address names: it must stand in the listing of one of the route's folders."""
    route, which, day = _route(visit), visit.asked("in", "inbox"), visit.asked("day")
    name = unescape_name(visit.asked("name"))
    found = next((one for one in _listed(visit, route, which, day) if one.name == name and one.regular), None)
    if found is None:
        raise NotThere("there is no such file any more", remedy="Open the folder again.")
    folder = _folder(route, which, day)
    Visibility.of(visit).refuse_file(route, folder)
    return _Chosen(route, folder, which, day, found)


def view(visit: Visit) -> Response:
    """The beginning of a file as text: above all of the texts that explain failures."""
    chosen = _chosen(visit)
    body = b""
    with closing(_places(visit).read(chosen.route.source.endpoint, chosen.folder, chosen.listed.name)) as chunks:
        for chunk in chunks:
            body += chunk
            if len(body) > _TEXT:
                break
    text = texts.decoded(body[:_TEXT], encoding_of(body[:HEAD]))
    return visit.page(
        "file.html",
        chosen=chosen,
        name=escape_name(chosen.listed.name),
        text=texts.indented(text),
        cut=len(body) > _TEXT,
        explains=chosen.listed.name.endswith(_ERROR),
    )


def save(visit: Visit) -> Response:
    """A file, to be saved."""
    chosen = _chosen(visit)
    body = _places(visit).read(chosen.route.source.endpoint, chosen.folder, chosen.listed.name)
    return download(body, chosen.listed.name)
