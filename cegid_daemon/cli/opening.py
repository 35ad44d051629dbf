"""What commands start from: the configuration, the stores it names, and the journal beside or without a daemon.

Owns `--config`, who an operator is, and the kind word where no journal is yet. A command beside a daemon reads through
a read-only connection, or writes through one that leaves the write-ahead log to the daemon.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cegid_daemon.errors import ConfigurationError, JournalUnavailable, Place

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.desk import Desk
    from cegid_daemon.journal import Journal
    from cegid_daemon.model import Store

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = Path("cegid-daemon.toml")
ID = click.IntRange(min=1, max=2**63 - 1)  # a number that the journal can hold
NO_JOURNAL = "There is no journal yet: the first `cegid-daemon run` or `once` makes it."


@dataclass(slots=True)
class Invocation:
    """One call of the command line."""

    config_file: Path = DEFAULT

    def config(self, *presets: str) -> Config:
        """The configuration, with these shipped layouts among its own. Raises ConfigurationError."""
        from cegid_daemon.config import load

        return load(self.config_file, presets=presets)

    @contextmanager
    def reading(self, config: Config) -> Iterator[Journal | None]:
        """The journal for reading; None where there never was one. Raises JournalError."""
        from cegid_daemon.journal import Journal

        if not _ever_was(config):
            yield None
            return
        path = _path(config)
        journal = Journal.open(path, readonly=path.exists(), checkpoints=False)  # for writing, it says what is missing
        try:
            yield journal
        finally:
            journal.close()

    @contextmanager
    def writing(self, config: Config) -> Iterator[Journal]:
        """The journal for an operator's edits; made where there never was one. Raises JournalError."""
        from cegid_daemon.bootstrap import utc_now
        from cegid_daemon.journal import Journal

        _ever_was(config)
        journal = Journal.open(_path(config), checkpoints=False)
        try:
            journal.book.settings.first_values(config.stores.values(), now=utc_now())
            yield journal
        finally:
            journal.close()


def desk_of(journal: Journal, config: Config) -> Desk:
    """The operator's desk for whoever called."""
    from cegid_daemon.bootstrap import places_of, utc_now
    from cegid_daemon.desk import Desk

    places = places_of(config)
    return Desk(journal, config.routes, config.stores, config.recipes, who=who(), clock=utc_now, places=places)


def _path(config: Config) -> Path:
    from cegid_daemon.bootstrap import journal_path

    return journal_path(config)


def _ever_was(config: Config) -> bool:
    """Whether there is a journal, or something says that there was one."""
    from cegid_daemon.journal.marker import marker

    path = _path(config)
    try:
        there = {one.name for one in path.parent.iterdir()}
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalUnavailable(
            "the state folder cannot be read", where=Place(file=str(config.state)), why=error.strerror or "",
            remedy="Run the command as the daemon's user: sudo -u USER cegid-daemon …",
        ) from error  # fmt: skip
    return not there.isdisjoint((path.name, marker(path).name, f"{path.name}-wal"))


def who() -> str:
    """Who is calling, as decisions and edits keep it."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        name = str(os.getuid())
    return f"cli:{name}"


def configured(command: F) -> F:
    """Gives a command `--config`, which may stand before or after its name."""
    return click.option(
        "--config", "-c", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), expose_value=False,
        callback=_remember, help=f"The configuration; ./{DEFAULT} unless named.",
    )(command)  # fmt: skip


def _remember(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Invocation).config_file = value


def store_option(command: F) -> F:
    """Gives a command `--store`."""
    return click.option("--store", metavar="STORE", shell_complete=_complete_stores,
                        help="The store; may be left out where one is configured.")(command)  # fmt: skip


def the_store(config: Config, name: str | None) -> Store:
    """The store that was named, or the only one. Raises click.BadParameter."""
    if name is not None:
        known_store(config, name)
        return config.stores[name]
    if len(config.stores) == 1:
        return next(iter(config.stores.values()))
    raise click.BadParameter(f"name one of {', '.join(config.stores)}", param_hint="--store")


def known_store(config: Config, name: str | None) -> None:
    """Raises click.BadParameter for a store that is not configured; None is no name."""
    if name is not None and name not in config.stores:
        raise click.BadParameter(f"there is no store {name!r}; known: {', '.join(config.stores)}", param_hint="--store")


def known_routes(config: Config, names: tuple[str, ...]) -> None:
    """Raises click.BadParameter for a route that is not configured."""
    for name in names:
        if name not in config.routes:
            known = ", ".join(config.routes) or "none"
            raise click.BadParameter(f"there is no route {name!r}; known: {known}", param_hint="ROUTE")


def complete_routes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of routes for the shell."""
    return _names(ctx, lambda config: config.routes, incomplete)


def _complete_stores(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return _names(ctx, lambda config: config.stores, incomplete)


def _names(ctx: click.Context, of: Callable[[Config], Any], incomplete: str) -> list[str]:
    try:
        config = ctx.ensure_object(Invocation).config()
    except ConfigurationError:
        return []
    return [name for name in of(config) if name.startswith(incomplete)]
