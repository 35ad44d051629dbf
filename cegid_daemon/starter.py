"""What `cegid-daemon init DIR` writes, and the folders a configuration's routes need.

Owns the starter folder: configuration, templates, samples, unit files, inbox and outbox. Never overwrites a file that
is there, and makes folders only below the configuration's own folder: a drop folder elsewhere belongs to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cegid_daemon import resources
from cegid_daemon.config import Config, load
from cegid_daemon.errors import Refused
from cegid_daemon.files import write_atomically

CONFIGURATION = "cegid-daemon.toml"
_FILE = "file:"


@dataclass(frozen=True, slots=True)
class Started:
    """What `start` did. Paths are absolute."""

    config: Config
    made: tuple[Path, ...]  # files and folders
    kept: tuple[Path, ...]  # files that were there and differ from what ships


def start(folder: Path) -> Started:
    """Makes `folder` a working starter folder; what is there already stays as it is.

    Raises Refused if the folder cannot be written, ConfigurationError if a configuration lies there and has faults.
    """
    made: list[Path] = []
    kept: list[Path] = []
    folder = folder.absolute()
    try:
        for shipped, copy in _copies(folder):
            _copy(shipped, copy, made, kept)
        config = load(folder / CONFIGURATION)
        made += make_folders(config)
    except OSError as error:
        raise Refused(
            f"{str(error.filename or folder)!r} cannot be written",
            why=error.strerror or "",
            remedy="Name a folder that is yours: cegid-daemon init DIR.",
        ) from error
    return Started(config, tuple(made), tuple(kept))


def make_folders(config: Config) -> list[Path]:
    """Makes the routes' missing source and target folders below the configuration's folder; returns those it made."""
    made: list[Path] = []
    for path in route_folders(config):
        if path.is_relative_to(config.folder) and not path.is_dir():
            path.mkdir(parents=True)
            made.append(path)
    return made


def route_folders(config: Config) -> list[Path]:
    """Every folder of this machine that a route takes files from or delivers to, each once, sources first."""
    sources = [(route.source.endpoint, route.source.folder) for route in config.routes.values()]
    targets = [(route.target.endpoint, route.target.folder) for route in config.routes.values() if route.target]
    urls = {name: endpoint.url for name, endpoint in config.endpoints.items() if endpoint.url.startswith(_FILE)}
    found = [Path(urls[name].removeprefix(_FILE), folder) for name, folder in [*sources, *targets] if name in urls]
    return list(dict.fromkeys(found))


def _copies(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Each shipped file, and where its copy goes."""
    yield resources.starter_configuration(), folder / CONFIGURATION
    trees = {"templates": resources.templates(), "samples": resources.samples(), "systemd": resources.units()}
    for name, tree in trees.items():
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                yield path, folder / name / path.relative_to(tree)


def _copy(shipped: Path, copy: Path, made: list[Path], kept: list[Path]) -> None:
    """Copies a file so that it appears whole or not at all."""
    content = shipped.read_bytes()
    if copy.exists():
        if copy.read_bytes() != content:
            kept.append(copy)
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(copy, private=False) as opened:
        opened.write(content)
    made.append(copy)
