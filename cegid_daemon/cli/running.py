"""`run` and `once`: carrying messages, for good or in one pass."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cegid_daemon import descriptors, logs
from cegid_daemon.cli.opening import Invocation, complete_routes, configured, known_routes
from cegid_daemon.cli.output import json_option, note, plural, print_json, say
from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.signal_flag import SignalFlag

if TYPE_CHECKING:
    from types import FrameType

    from cegid_daemon.bootstrap import Installation
    from cegid_daemon.config import Config
    from cegid_daemon.once import Outcome

# `once` tells what these would log as faults of its outcome, one line each.
TOLD_BY_OUTCOME = (
    "cegid_daemon.trouble",
    "cegid_daemon.listing_faults",
    "cegid_daemon.pipeline",
    "cegid_daemon.pipeline.answering",
    "cegid_daemon.waiting",
    "cegid_daemon.unreadable",
    "cegid_daemon.leftovers",
    "cegid_daemon.ownership.claims.refusals",
)
_UPKEEP = 5.0  # seconds `once` spends at most on search index and retention

verbose_option = click.option("--verbose", "-v", is_flag=True, help="Log what is of use when looking for a fault.")


@click.command()
@verbose_option
@configured
@click.pass_context
def run(ctx: click.Context, verbose: bool) -> None:
    """Run the daemon until it is told to stop.

    SIGHUP reads the configuration again (a bad one is refused, and the old one goes on), the first SIGTERM or Ctrl-C
    brings what is under way to its end, a second one cuts.
    """
    from cegid_daemon.bootstrap import Installation, utc_now, works
    from cegid_daemon.console import Console
    from cegid_daemon.daemon import Daemon
    from cegid_daemon.sdnotify import Notifier

    invocation = ctx.ensure_object(Invocation)
    ctx.with_resource(logs.telling(logging.DEBUG if verbose else logging.INFO))
    descriptors.raise_limit()
    first = invocation.config()
    with Installation(first) as installation:
        daemon = Daemon(
            works(installation, _same_state(invocation, first), face=Console()), clock=utc_now, notifier=Notifier()
        )
        code = daemon.run()
    ctx.exit(code)


def _same_state(invocation: Invocation, first: Config) -> Callable[[], Config]:
    """Loads the configuration for a start or reload; the state folder is the one thing a reload cannot change."""

    def load() -> Config:
        config = invocation.config()
        if config.state != first.state:
            raise ConfigurationError(
                "the state folder cannot change while the daemon runs",
                where=Place(file=str(config.path), field="state"),
                remedy="Stop the daemon, move the folder, start it again.",
            )  # fmt: skip
        return config

    return load


@click.command()
@click.argument("routes", nargs=-1, metavar="[ROUTE]...", shell_complete=complete_routes)
@verbose_option
@json_option
@configured
@click.pass_context
def once(ctx: click.Context, routes: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    """Process all pending files once, then exit.

    Each source is polled and each open message tried, whatever poll times and pauses say. A file that is still
    settling is waited for; one that is empty, open for writing or unreadable is reported and not waited for. With
    ROUTE only the sources of these routes. Exit code 0: all well; 1: a message failed, waits, is held, or was refused
    by its receiver in part or whole, a file cannot be taken yet, a line of a listing is not understood, or an endpoint
    could not be reached; each such fault is one line on stderr.
    """
    from cegid_daemon.bootstrap import Installation

    level = logging.DEBUG if verbose else logging.WARNING
    ctx.with_resource(logs.telling(level, without=TOLD_BY_OUTCOME))
    config = ctx.ensure_object(Invocation).config()
    known_routes(config, routes)
    with stop_on_signals() as stop, Installation(config) as installation:
        outcome = pass_over(installation, config, set(routes or config.routes), stop)
        _keep_house(installation, config, stop)
    for fault in outcome.faults:
        note(fault)
    if as_json:
        print_json(outcome)
    else:
        say(f"{plural(outcome.claimed, 'file')} taken, {plural(outcome.delivered, 'message')} delivered.")
    ctx.exit(0 if outcome.well else 1)


def pass_over(installation: Installation, config: Config, routes: set[str], stop: SignalFlag) -> Outcome:
    """One pass over the sources of some routes."""
    from cegid_daemon import once as passes
    from cegid_daemon.bootstrap import utc_now

    crew = installation.crew(config, beat=lambda: None, stopping=stop.is_set)
    try:
        sources = [one for one in crew.sources if any({route.name, route.log_route} & routes for route in one.routes)]
        outcome = passes.once(sources, clock=utc_now, wait=stop.wait)
        if len(sources) == len(crew.sources):
            outcome.faults += crew.leftovers.look(utc_now(), patient=False)
    finally:
        crew.close()
    if stop.is_set():
        outcome.faults.append("stopped by a signal before all was looked at")
    return outcome


def _keep_house(installation: Installation, config: Config, stop: SignalFlag) -> None:
    """Search index and retention, which a daemon would see to: a shop that only ever calls `once` needs them too."""
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.housekeeping import Housekeeping
    from cegid_daemon.pipeline.early_keys import EarlyKeys

    policies = installation.policies(config)
    house = Housekeeping(installation.journal, policies, utc_now, stop.is_set)
    early_keys = EarlyKeys(
        installation.journal, config.recipes, policies, utc_now, stop.is_set, rest=lambda _seconds: None
    )
    began = utc_now()
    while (early_keys.turn(utc_now()) | house.turn()) and not stop.is_set():
        if (utc_now() - began).total_seconds() > _UPKEEP:
            return


@contextmanager
def stop_on_signals() -> Iterator[SignalFlag]:
    """A flag that the first SIGTERM or SIGINT sets; a second one has its usual effect."""
    stop = SignalFlag()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}

    def note_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        for number, usual in before.items():
            signal.signal(number, usual)

    for number in numbers:
        signal.signal(number, note_signal)
    try:
        yield stop
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
