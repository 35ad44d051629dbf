"""`replay`, `release`, `discard`: what a person decides about messages, and what comes of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from cegid_daemon import logs
from cegid_daemon.cli.opening import ID, NO_JOURNAL, Invocation, configured, desk_of
from cegid_daemon.cli.output import json_option, note, one_line, plural, print_json, progress, say
from cegid_daemon.cli.running import TOLD_BY_OUTCOME, pass_over, stop_on_signals
from cegid_daemon.errors import AlreadyRunning, Refused

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.desk import Desk
    from cegid_daemon.journal import Journal
    from cegid_daemon.journal.rows import Message

PATIENCE = 30  # seconds a replay is waited for beside a daemon
_LOOK = 0.2  # seconds between two looks
_ON_ITS_WAY = ("received", "rewritten", "delivered")

ids_argument = click.argument("ids", nargs=-1, required=True, type=ID, metavar="ID...")
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; kept with the decision.")


@click.command()
@ids_argument
@click.option("--as", "mode", type=click.Choice(["today"]), default="today", show_default=True,
              help="Rewritten with today's template and buffers.")  # fmt: skip
@reason_option
@click.option("--no-wait", is_flag=True, help="Beside a daemon: do not wait for what comes of it.")
@json_option
@configured
@click.pass_context
def replay(ctx: click.Context, ids: tuple[int, ...], mode: str, reason: str, no_wait: bool, as_json: bool) -> None:  # noqa: ARG001
    """Send done, failed or discarded messages again.

    Beside a running daemon the replay is recorded and the daemon carries it; its outcome is waited for up to 30
    seconds. Where no daemon runs, it is carried here and now, in a pass over its route. Exit code 1: it is not (yet)
    delivered, or records of it were refused.
    """
    ids = _once_each(ids)
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    with invocation.reading(config) as journal:
        if journal is None:
            raise Refused("there is no message to replay", remedy=NO_JOURNAL)
    try:
        outcome, told = _carried_here(config, ids, reason)
    except AlreadyRunning:
        outcome = _carried_by_daemon(invocation, config, ids, reason, patience=0 if no_wait else PATIENCE)
        told = []
    _tell(ids, outcome, told, as_json)
    ctx.exit(0 if no_wait or all(one.standing == "done" for one in outcome) else 1)


def _once_each(ids: Sequence[int]) -> tuple[int, ...]:
    """The ids without those that were named before; says so."""
    for message, times in Counter(ids).items():
        if times > 1:
            note(f"message {message} is named {times} times: it counts once")
    return tuple(dict.fromkeys(ids))


def _carried_here(config: Config, ids: Sequence[int], reason: str) -> tuple[list[Message], list[str]]:
    """Holds the state folder and carries the replays itself; what came of them, and every fault of the pass.

    Raises AlreadyRunning.
    """
    from cegid_daemon.bootstrap import Installation

    quiet = logs.telling(without=TOLD_BY_OUTCOME)
    with quiet, stop_on_signals() as stop, Installation(config) as installation:
        copies = _replayed(desk_of(installation.journal, config), installation.journal, ids, reason)
        routes = {message.route for message in _messages(installation.journal, copies)}
        outcome = pass_over(installation, config, routes, stop)
        return _messages(installation.journal, copies), outcome.faults


def _carried_by_daemon(
    invocation: Invocation, config: Config, ids: Sequence[int], reason: str, *, patience: int
) -> list[Message]:
    with stop_on_signals() as stop, invocation.writing(config) as journal:
        copies = _replayed(desk_of(journal, config), journal, ids, reason)
        deadline = time.monotonic() + patience
        with progress(patience, "Waiting for the daemon") as bar:
            while (left := deadline - time.monotonic()) > 0:
                messages = _messages(journal, copies)
                if not any(message.state in _ON_ITS_WAY for message in messages):
                    return messages
                bar.update(max(0, int(patience - left) - bar.pos))
                if stop.wait(min(_LOOK, left)):
                    break
        return _messages(journal, copies)


def _replayed(desk: Desk, journal: Journal, ids: Sequence[int], reason: str) -> list[int]:
    """All of them or none."""
    _warn_of_newer(journal, ids, "a replay sends")
    with journal.connection.transaction():
        return [desk.replay(message, reason=reason) for message in ids]


def _warn_of_newer(journal: Journal, ids: Sequence[int], sends: str) -> dict[int, int]:
    """Says which of these go behind newer ones of their route, and returns how many those are, by message."""
    from cegid_daemon.journal.overview import Overview

    overview = Overview(journal.connection)
    found = {message.id: (message, overview.sent_since(message)) for message in _messages(journal, ids)}
    for message, newer in found.values():
        if newer:
            note(f"warning: {plural(newer, 'newer message')} of route {message.route} went out since message "
                 f"{message.id}: {sends} its older numbers after them")  # fmt: skip
    return {id_: newer for id_, (_, newer) in found.items()}


def _messages(journal: Journal, ids: Sequence[int]) -> list[Message]:
    found = (journal.ledger.message(message) for message in ids)
    return [message for message in found if message is not None]


def _tell(ids: Sequence[int], outcome: Sequence[Message], told: Sequence[str], as_json: bool) -> None:
    """`told` are the faults of the pass that carried them: a message one of them names is not told again."""
    rows = [_row(original, message) for original, message in zip(ids, outcome, strict=True)]
    for fault in told:
        note(fault)
    if as_json:
        print_json(rows)
        return
    for row, message in zip(rows, outcome, strict=True):
        say(f"message {row['replay_of']} replayed as {message.id}: {message.standing}")
        known = any(fault.startswith(f"message {row['message']} ") for fault in told)
        if row["error"] and not known:
            note(f"message {row['message']}: {one_line(row['error'])}")


def _row(original: int, message: Message) -> dict[str, Any]:
    error = str(message.fault) if message.fault else None
    return {
        "replay_of": original,
        "message": message.id,
        "route": message.route,
        "state": message.state,
        "outcome": message.outcome,
        "error": error,
    }


def decision(command: Callable[..., None]) -> click.Command:
    """Makes a command of a decision on messages: which, why, and how it is told."""
    for given in (click.pass_context, configured, json_option, reason_option, ids_argument):
        command = given(command)
    return click.command()(command)


@decision
def release(ctx: click.Context, ids: tuple[int, ...], reason: str, as_json: bool) -> None:
    """Let held or unsure messages go.

    What is not known to have arrived is sent (again). Says how many newer messages of the route went out since.
    """
    _decide(ctx, ids, lambda desk, message: desk.release(message, reason=reason), as_json, sends="this sends")


@decision
def discard(ctx: click.Context, ids: tuple[int, ...], reason: str, as_json: bool) -> None:
    """Close held, unsure or waiting messages.

    What is left of them is not sent. A part that the daemon is delivering at this very moment may arrive all the same:
    it is told as delivered then, and a message that arrived as a whole is done.
    """
    _decide(ctx, ids, lambda desk, message: desk.discard(message, reason=reason), as_json)


def _decide(
    ctx: click.Context, ids: Sequence[int], decide: Callable[[Desk, int], None], as_json: bool, *, sends: str = ""
) -> None:
    """Decides on all of them or none. `sends`: how to say that they are sent, which is told where newer ones were."""
    ids = _once_each(ids)
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    with invocation.reading(config) as found:
        if found is None:
            raise Refused("there is no message to decide on", remedy=NO_JOURNAL)
    with invocation.writing(config) as journal:
        desk = desk_of(journal, config)
        with journal.connection.transaction():
            for message in ids:
                decide(desk, message)
        messages = _messages(journal, ids)
        newer = _warn_of_newer(journal, ids, sends) if sends else {}
    if as_json:
        print_json([
            {"message": one.id, "route": one.route, "state": one.state}
            | ({"newer_sent": newer[one.id]} if sends else {})
            for one in messages
        ])  # fmt: skip
        return
    for one in messages:
        say(f"message {one.id}: {one.state}")
