"""Who may see bytes that are not masked: the one rule that every page, download and search asks.

An operator may: they have to repair what is in a file. A viewer of a route with `redact` may not, wherever the bytes
lie: in the journal before they are masked, in the folders of the route, in what the receiver answered. What a viewer
cannot see they cannot find either. Texts of errors are not asked for here: they are made without such values
(`rewrite.masking.faults`, `pipeline.reply_masking`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from cegid_daemon.config import Config
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.sessions import Role
from cegid_daemon.console.visit import Visit
from cegid_daemon.errors import Refused
from cegid_daemon.journal.search import Hit
from cegid_daemon.model import EndpointSpec, Route


def may_see_unmasked(role: Role, route: Route) -> bool:
    """Whether somebody may see what a route's files hold as it came."""
    return role is Role.OPERATOR or not route.log.redact


class Visibility:
    """What one visitor may see."""

    def __init__(self, role: Role, config: Config) -> None:
        self._role = role
        self._config = config

    @classmethod
    def of(cls, visit: Visit) -> Visibility:
        """That of whoever asks."""
        return cls(visit.session.role, visit.ground.config)

    def route(self, route: Route) -> bool:
        """Whether they may see a route's values unmasked."""
        return may_see_unmasked(self._role, route)

    def payload(self, reading: Reading, message: int, payload: int) -> bool:
        """Whether they may see stored bytes of a message: masked ones anybody, others by its route."""
        if self._role is Role.OPERATOR:
            return True
        stored = reading.masking.stored(message, payload)
        if stored is None or stored.masked:
            return stored is not None
        known = [self._config.routes[name] for name in stored.routes if name in self._config.routes]
        return not stored.to_mask and all(may_see_unmasked(self._role, route) for route in known)

    def reader(self, reading: Reading) -> Callable[[int, int], bool]:
        """Whether a search may look into some bytes of a message for them."""
        return partial(self.payload, reading)

    def hits(self, reading: Reading, hits: Sequence[Hit]) -> list[Hit]:
        """Those of what a search found by its words that they may see the words of."""
        return [hit for hit in hits if not hit.how.startswith("word") or self.message(reading, hit.message)]

    def message(self, reading: Reading, message: int) -> bool:
        """Whether they may see all stored bytes of a message."""
        return all(self.payload(reading, message, one) for one in reading.masking.payloads(message))

    def refuse_payload(self, reading: Reading, message: int, payload: int) -> None:
        """Raises Refused where they may not see stored bytes."""
        if not self.payload(reading, message, payload):
            raise Refused(
                "these bytes are not masked yet", why="they hold fields that the route masks (`redact`)",
                remedy="They are shown masked once the message is closed; the pair shows them masked now.",
            )  # fmt: skip

    def file(self, route: Route, folder: str) -> bool:
        """Whether they may see the files in a folder of a route: it holds originals, of other routes too."""
        return self._masks_in(route, folder) is None

    def refuse_file(self, route: Route, folder: str) -> None:
        """Raises Refused where they may not."""
        if (masks := self._masks_in(route, folder)) is not None:
            raise Refused(
                "files of this folder are not shown to viewers",
                why=f"they are as they came, and route {masks.name} masks fields of them (`redact`)",
                remedy="The log shows the masked copies, and each message says why it failed. An operator sees them.",
            )

    def _masks_in(self, route: Route, folder: str) -> Route | None:
        """The route that keeps them from seeing the files of a folder."""
        hidden = [one for one in self._config.routes.values() if not may_see_unmasked(self._role, one)]
        if not hidden:
            return None
        here = _place(self._config.endpoints[route.source.endpoint], folder)
        return next((one for one in hidden if one.name == route.name or _holds(self._config, one, here)), None)


def _holds(config: Config, route: Route, here: str) -> bool:
    """Whether a folder is one of a route's, or one that we keep in it."""
    return any(here == there or here.startswith((f"{there}/failed", f"{there}/processed")) for there in
               _places(config, route))  # fmt: skip


def _places(config: Config, route: Route) -> Iterator[str]:
    endpoints: Mapping[str, EndpointSpec] = config.endpoints
    source = route.source
    folders = [(source.endpoint, source.folder)]
    if source.archive:
        folders.append((source.endpoint, "/".join(filter(None, (source.folder, source.archive)))))
    if route.target is not None:
        folders.append((route.target.endpoint, route.target.folder))
    if route.rejects is not None:
        folders.append((route.rejects.endpoint, route.rejects.folder))
    return (_place(endpoints[name], folder) for name, folder in folders if name in endpoints)


def _place(endpoint: EndpointSpec, folder: str) -> str:
    """A folder by where it is, whatever the endpoint is called: a folder of this machine by its real path."""
    if endpoint.scheme == "file":
        return _real(f"{endpoint.url.partition(':')[2]}/{folder}")
    parts = urlsplit(endpoint.url)  # whoever logs in, and how: one folder may be reached by several names and ports
    return normpath(f"/{parts.hostname}/{unquote(parts.path)}/{folder}".replace("//", "/")).rstrip("/")


@lru_cache(maxsize=256)
def _real(path: str) -> str:
    return str(Path(path).resolve())
