"""`status`: routes, queues, what needs a person, endpoints. Works beside a daemon and without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from cegid_daemon import __version__
from cegid_daemon.cli.opening import NO_JOURNAL, Invocation, configured
from cegid_daemon.cli.output import json_option, note, one_line, print_json, print_table, say
from cegid_daemon.logs import masked
from cegid_daemon.model import escape_name, location, utc_text

if TYPE_CHECKING:
    from datetime import datetime

    from cegid_daemon.config import Config
    from cegid_daemon.journal import Journal
    from cegid_daemon.journal.notices import Notice
    from cegid_daemon.journal.overview import Contact
    from cegid_daemon.journal.rows import Message
    from cegid_daemon.journal.waiting_files import WaitingFile

_ASIDE = 20  # messages shown that need attention
_COUNTED = ("waiting", "held", "unsure", "failed", "partly refused", "refused")
_QUEUED = ("received", "rewritten", "delivered", "waiting", "held", "unsure")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the journal says."""

    counts: Mapping[str, Mapping[str, int]]
    last: Mapping[str, Message]
    aside: Sequence[Message]
    contacts: Mapping[str, Contact]
    waiting_files: Sequence[WaitingFile] = ()
    notices: Sequence[Notice] = ()


NOTHING = Standing({}, {}, (), {})


@click.command()
@json_option
@configured
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show routes, queues, faults and endpoints.

    Beside a running daemon and without one.
    """
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.holding import StateFolder

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    with invocation.reading(config) as journal:
        standing = _standing(journal, config, utc_now()) if journal else NOTHING
    running = StateFolder(config.state).is_held()
    if as_json:
        print_json(_as_json(config, standing, running))
        return
    say(f"cegid-daemon {__version__}: {'running' if running else 'not running'}, state in {config.state}")
    if journal is None:
        note(NO_JOURNAL)
    _print(config, standing)


def _standing(journal: Journal, config: Config, now: datetime) -> Standing:
    """What the journal says now; what a clock that was ahead wrote down counts as now."""
    from cegid_daemon.journal.overview import Overview

    overview = Overview(journal.connection)
    counts = overview.counts()
    last = {route: message for route in {**config.routes, **counts} if (message := overview.last(route)) is not None}
    return Standing(
        counts,
        {route: _at_most(message, now) for route, message in last.items()},
        [_at_most(message, now) for message in overview.aside(_ASIDE)],
        {contact.endpoint: _contact(contact, utc_text(now)) for contact in overview.contacts()},
        [replace(file, first_seen=min(file.first_seen, now)) for file in journal.waiting_files.all()],
        [
            replace(notice, first_at=min(notice.first_at, now), last_at=min(notice.last_at, now))
            for notice in journal.notices.active()
        ],
    )


def _at_most(message: Message, now: datetime) -> Message:
    return replace(message, received_at=min(message.received_at, now))


def _contact(contact: Contact, now: str) -> Contact:
    since = contact.failing_since
    return replace(
        contact,
        ok_at=min(contact.ok_at, now) if contact.ok_at else contact.ok_at,
        failing_since=min(since, now) if since else since,
    )


def _names(config: Config, standing: Standing) -> list[str]:
    """Routes as configured, then those that only the journal knows."""
    return list(dict.fromkeys([*config.routes, *sorted(standing.counts)]))


def _queue(counts: Mapping[str, int]) -> int:
    return sum(counts.get(state, 0) for state in _QUEUED)


def _as_json(config: Config, standing: Standing, running: bool) -> dict[str, Any]:
    return {
        "version": __version__,
        "running": running,
        "state": str(config.state),
        "routes": [_route_json(name, config, standing) for name in _names(config, standing)],
        "aside": [_message_json(message) for message in standing.aside],
        "endpoints": [_endpoint_json(name, config, standing) for name in config.endpoints],
        "waiting_files": [_waiting_file_json(file) for file in standing.waiting_files],
        "notices": [_notice_json(notice) for notice in standing.notices],
    }


def _route_json(name: str, config: Config, standing: Standing) -> dict[str, Any]:
    route, counts, last = config.routes.get(name), standing.counts.get(name, {}), standing.last.get(name)
    return {
        "route": name,
        "configured": route is not None,
        "store": route.store if route else None,
        "queue": _queue(counts),
        **{word.replace(" ", "_"): counts.get(word, 0) for word in _COUNTED},
        "last": _message_json(last) if last else None,
    }


def _message_json(message: Message) -> dict[str, Any]:
    return {
        "message": message.id,
        "route": message.route,
        "state": message.state,
        "outcome": message.outcome,
        "file_name": escape_name(message.file_name),
        "received_at": utc_text(message.received_at),
        "next_try_at": utc_text(message.next_try_at) if message.next_try_at else None,
        "error": str(message.fault) if message.fault else None,
    }


def _endpoint_json(name: str, config: Config, standing: Standing) -> dict[str, Any]:
    contact = standing.contacts.get(name)
    return {
        "endpoint": name,
        "url": masked(config.endpoints[name].url),
        "ok_at": contact.ok_at if contact else None,
        "failing_since": contact.failing_since if contact else None,
        "error": contact.error if contact else None,
    }


def _waiting_file_json(file: WaitingFile) -> dict[str, Any]:
    return {
        "file": location(file.place, file.folder, file.name),
        "reason": file.reason,
        "detail": file.detail,
        "since": utc_text(file.first_seen),
    }


def _notice_json(notice: Notice) -> dict[str, Any]:
    return {
        "kind": notice.kind,
        "subject": notice.subject,
        "text": notice.text,
        "first_at": utc_text(notice.first_at),
        "last_at": utc_text(notice.last_at),
        "times": notice.times,
    }


def _print(config: Config, standing: Standing) -> None:
    say()
    columns = ("ROUTE", "STORE", "QUEUE", *map(str.upper, _COUNTED), "LAST MESSAGE")
    print_table(columns, [_route_row(name, config, standing) for name in _names(config, standing)])
    say()
    print_table(("ENDPOINT", "PLACE", "CONTACT"), [_endpoint_row(name, config, standing) for name in config.endpoints])
    if standing.aside:
        say()
    for message in standing.aside:
        text = one_line(str(message.fault or ""))
        if message.route not in config.routes and message.state == "waiting":  # its remedy says that it is tried again
            text = f"route {message.route} is no longer configured, and nothing tries it: see the notices"
        say(f"message {message.id} ({message.route}, {escape_name(message.file_name)}) {message.standing}: {text}")
    if standing.waiting_files or standing.notices:
        say()
    for file in standing.waiting_files[:_ASIDE]:
        detail = f": {one_line(file.detail)}" if file.detail else ""
        where = location(file.place, file.folder, file.name)
        say(f"{where}: {file.reason}, waiting since {file.first_seen:%Y-%m-%d %H:%M:%S}Z{detail}")
    if len(standing.waiting_files) > _ASIDE:
        say(f"… and {len(standing.waiting_files) - _ASIDE} more files that wait")
    for notice in standing.notices:
        say(f"notice ({notice.kind}, since {notice.first_at:%Y-%m-%d %H:%M:%S}Z): {one_line(notice.text)}")


def _route_row(name: str, config: Config, standing: Standing) -> tuple[object, ...]:
    counts, last = standing.counts.get(name, {}), standing.last.get(name)
    route = config.routes.get(name)
    shown = (
        f"{last.id} {escape_name(last.file_name)}, {last.standing}, {last.received_at:%Y-%m-%d %H:%M:%S}Z"
        if last
        else ""
    )
    return (name, route.store if route else "(not configured)", _queue(counts),
            *(counts.get(state, 0) for state in _COUNTED), shown)  # fmt: skip


def _endpoint_row(name: str, config: Config, standing: Standing) -> tuple[object, ...]:
    contact, url = standing.contacts.get(name), config.endpoints[name].url
    if contact is None:
        return name, url, "not asked yet"
    if contact.failing_since:
        return name, url, f"failing since {contact.failing_since}: {contact.error}"
    return name, url, f"answered {contact.ok_at}"
