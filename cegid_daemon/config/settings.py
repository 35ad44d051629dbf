"""What a configuration becomes: the frozen objects the daemon runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cegid_daemon.config.secrets import Secret
from cegid_daemon.model import EndpointSpec, Route, Store
from cegid_daemon.rewrite.recipe import Recipe


@dataclass(frozen=True, slots=True)
class ConsoleSpec:
    """The console in the browser; `listen` blank = off."""

    listen: str = ""
    password: Secret | None = None


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
    console: ConsoleSpec = field(default_factory=ConsoleSpec)
    warnings: tuple[str, ...] = ()  # what works, but is probably not meant
