"""What a configuration becomes: the frozen objects the daemon runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cegid_daemon.config.secrets import Secret
from cegid_daemon.model import EndpointSpec, Route, SiteSpec, Store
from cegid_daemon.rewrite.recipe import Layout, Recipe, Templates


@dataclass(frozen=True, slots=True)
class ConsoleSpec:
    """The console in the browser; `listen` blank = off."""

    listen: str = ""
    password: Secret | None = None
    viewer_password: Secret | None = None
    hosts: tuple[str, ...] = ()
    https: bool = False  # a proxy speaks HTTPS
    certificate: str | None = None  # the console speaks HTTPS itself
    key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    probes: str = ""  # blank: no listener of their own

    @property
    def encrypted(self) -> bool:
        """Whether browsers reach it by HTTPS only."""
        return self.https or self.certificate is not None


@dataclass(frozen=True, slots=True)
class AlertSpec:
    """Who is told when something needs a person; no `urls` = nobody."""

    urls: tuple[Secret, ...] = ()
    events: tuple[str, ...] = ()
    quiet: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without a fault. Every path is absolute; endpoints' file: urls are too."""

    path: Path  # of the file
    folder: Path  # of the file's folder, where relative paths start
    state: Path
    templates: Path  # the folder of own templates
    stores: Mapping[str, Store]
    endpoints: Mapping[str, EndpointSpec]
    routes: Mapping[str, Route]
    recipes: Mapping[str, Recipe]  # by route
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # its own, and the presets used or asked for
    requests: Mapping[str, Templates] = field(default_factory=dict)  # by name: what APIs are asked with
    console: ConsoleSpec = field(default_factory=ConsoleSpec)
    alert: AlertSpec = field(default_factory=AlertSpec)
    sites: tuple[SiteSpec, ...] = ()
    warnings: tuple[str, ...] = ()  # what works, but is probably not meant
