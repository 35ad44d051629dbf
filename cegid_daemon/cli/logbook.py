"""`log`: the API Integration Log, read, searched, compared, saved and pruned."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cegid_daemon.cli.comparing import compared_texts, no_message
from cegid_daemon.cli.moments import Moment
from cegid_daemon.cli.opening import ID, NO_JOURNAL, Invocation, complete_routes, configured, store_option
from cegid_daemon.cli.output import (
    json_option,
    note,
    one_line,
    output_option,
    plural,
    print_json,
    print_json_rows,
    print_table,
    progress,
    say,
)
from cegid_daemon.cli.pairing import account_of, print_account_json, show_account
from cegid_daemon.cli.showing import show_message
from cegid_daemon.errors import Refused
from cegid_daemon.files import write_atomically
from cegid_daemon.model import OUTCOMES

if TYPE_CHECKING:
    from cegid_daemon.journal import Journal
    from cegid_daemon.journal.log import LogEntry
    from cegid_daemon.journal.queue import Queue
    from cegid_daemon.journal.search import Hit

_PAGE = 500
_SHOWN = ("id", "logged_at", "store", "route", "message_id", "kind", "variant", "name", "file_name", "size", "outcome")
_SCAN_SECONDS = 60.0


@click.group()
@configured
def log() -> None:
    """Read the API Integration Log.

    Each message has an Unmodified entry and its Modified partners; both carry the message's id.
    """


@contextmanager
def _journal(ctx: click.Context) -> Iterator[Journal | None]:
    invocation = ctx.ensure_object(Invocation)
    with invocation.reading(invocation.config()) as journal:
        yield journal


def _needed(journal: Journal | None) -> Journal:
    if journal is None:
        raise Refused("nothing is logged yet", remedy=NO_JOURNAL)
    return journal


@log.command("list")
@store_option
@click.option("--route", metavar="ROUTE", shell_complete=complete_routes, help="Only entries of this route.")
@click.option("--variant", type=click.Choice(["Unmodified", "Modified"], case_sensitive=False), help="Only this half.")
@click.option("--kind", type=click.Choice(["Request", "Response"], case_sensitive=False),
              help="Request: came from CEGID. Response: goes to CEGID.")  # fmt: skip
@click.option("--outcome", type=click.Choice(OUTCOMES, case_sensitive=False), help="Only entries that came to this.")
@click.option(
    "--since", type=Moment(), metavar="TIME", help="From this time on: 2026-11-23T07:42 (UTC), or 90m, 24h, 7d ago."
)
@click.option("--until", type=Moment(), metavar="TIME", help="Before this time.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many entries.")
@json_option
@configured
@click.pass_context
def list_(ctx: click.Context, /, limit: int, as_json: bool, **filters: Any) -> None:
    """List entries, newest first."""
    with _journal(ctx) as journal:
        entries = _entries(journal, filters, limit) if journal else iter(())
        if as_json:
            print_json_rows(map(_row, entries))
            return
        print_table([name.upper() for name in _SHOWN], [[getattr(entry, name) for name in _SHOWN] for entry in entries])
        if journal is None:
            note(NO_JOURNAL)


def _entries(journal: Journal, filters: Mapping[str, Any], limit: int) -> Iterator[LogEntry]:
    last: int | None = None
    while limit > 0:
        found = journal.log.entries(**filters, before_id=last, limit=min(limit, _PAGE))
        yield from found
        limit -= len(found)
        if len(found) < _PAGE:
            return
        last = found[-1].id


def _row(entry: LogEntry) -> dict[str, Any]:
    """The columns of the view."""
    row = asdict(entry)
    del row["payload"]
    return row


@log.command()
@click.argument("message", type=ID)
@json_option
@configured
@click.pass_context
def show(ctx: click.Context, message: int, as_json: bool) -> None:
    """Show all that is known of MESSAGE: where it stands, its file, records, parts, deliveries, tries, error."""
    with _journal(ctx) as journal:
        known = _needed(journal).log.message(message)
    if known is None:
        raise no_message(message)
    if as_json:
        print_json(known)
    else:
        show_message(known)


@log.command()
@click.argument("message", type=ID)
@click.option(
    "--key", metavar="KEY", default="", help="By record: those that bear KEY, a SKU or order number or any value."
)
@click.option("--record", metavar="N", type=click.IntRange(min=1), help="By record, from number N on.")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=50, show_default=True, help="By record: at most so many."
)
@json_option
@configured
@click.pass_context
def diff(ctx: click.Context, message: int, key: str, record: int | None, count: int, as_json: bool) -> None:
    """Compare the Unmodified with the Modified half of MESSAGE.

    As texts, part by part, in a unified diff. With --key or --record by record instead, also of a large file: the
    fields, what was made of them, and the cause of each change (buffer and level, left out, rejected). It is computed
    again with the template and the buffers of then.
    """
    with _journal(ctx) as found:
        journal = _needed(found)
        if key or record:
            config = ctx.ensure_object(Invocation).config()
            show = print_account_json if as_json else show_account
            show(account_of(journal, config, message, first=record or 1, count=count, key=key.strip()))
            return
        compared = compared_texts(journal, message)
    if as_json:
        print_json([{"entry": entry.id, "part": entry.part, "diff": lines} for entry, lines in compared])
        return
    for _, lines in compared:
        for line in lines:
            say(line)


@log.command()
@click.argument("entry", type=ID)
@output_option("Where to write: a file, or a folder.")
@configured
@click.pass_context
def save(ctx: click.Context, entry: int, output: Path | None) -> None:
    """Write the exact bytes of ENTRY, as they were received or delivered."""
    with _journal(ctx) as found:
        journal = _needed(found)
        known = journal.log.entry(entry)
        if known is None:
            raise Refused(f"there is no entry {entry}", remedy="`cegid-daemon log list` shows the ids of entries.")
        if output is None:
            for piece in journal.log.payload_of(known):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        path = output / _file_name(known) if output.is_dir() else output
        _write(journal, known, path)
    note(f"{path}: {plural(known.size, 'byte')}")


def _file_name(entry: LogEntry) -> str:
    from cegid_daemon.model import unescape_name

    return Path(unescape_name(entry.file_name)).name


def _write(journal: Journal, entry: LogEntry, path: Path) -> None:
    with write_atomically(path) as file, progress(entry.size, f"Saving {path.name}") as bar:
        for piece in journal.log.payload_of(entry):
            file.write(piece)
            bar.update(len(piece))


@log.command()
@click.argument("text")
@click.option("--content", is_flag=True, help="Look through the received and sent bytes too, newest first.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many messages.")
@json_option
@configured
@click.pass_context
def search(ctx: click.Context, text: str, content: bool, limit: int, as_json: bool) -> None:
    """Find messages by SKU, product, order number, file name or a word.

    TEXT is looked for whole, as a beginning, and from three characters on inside; its words, in contents up to 64 KiB.
    SKUs of a file with more than 5,000 of them are found with --content only, once it was rewritten.
    Of each message that is open the last column (`waits_for` in JSON) says what it waits for.
    """
    if not text:
        raise click.BadParameter("is blank", param_hint="TEXT")
    with _journal(ctx) as journal:
        hits = _hits(journal, text, content, limit) if journal else []
        rows = [_hit_row(journal, hit, _queue(ctx, journal)) for hit in hits] if journal else []
    if as_json:
        print_json_rows(rows)
        return
    columns = ("message", "route", "outcome", "received_at", "file_name", "found", "how", "waits_for")
    print_table([name.upper() for name in columns], [[row[name] for name in columns] for row in rows])
    if journal is None:
        note(NO_JOURNAL)


def _hits(journal: Journal, text: str, content: bool, limit: int) -> list[Hit]:
    hits = {hit.message: hit for hit in journal.search.find(text, limit)}
    if content and len(hits) < limit:
        for hit in _scanned(journal, text):
            hits.setdefault(hit.message, hit)
            if len(hits) >= limit:
                break
    return sorted(hits.values(), key=lambda hit: -hit.message)


def _scanned(journal: Journal, text: str) -> Iterator[Hit]:
    """What a scan of the bytes finds within its time; says so when it did not get to the end."""
    end = time.monotonic() + _SCAN_SECONDS
    with progress(int(_SCAN_SECONDS), "Looking through contents") as bar:

        def go_on(_messages: int, _size: int) -> bool:
            left = end - time.monotonic()
            bar.update(max(0, int(_SCAN_SECONDS - left) - bar.pos))
            return left > 0

        yield from journal.search.scan(text, go_on=go_on)
    if time.monotonic() > end:
        note(f"Ended after {_SCAN_SECONDS:.0f} s: older contents were not looked through.")


def _queue(ctx: click.Context, journal: Journal) -> Queue:
    from cegid_daemon.journal.queue import Queue

    config = ctx.ensure_object(Invocation).config()
    stores, settings = config.stores, journal.book.settings
    return Queue(
        journal.connection,
        lambda name: name not in stores or settings.enabled(stores[name]),
        config.routes.__contains__,
    )


def _hit_row(journal: Journal, hit: Hit, queue: Queue) -> dict[str, Any]:
    from cegid_daemon.model import escape_name, utc_text

    message = journal.ledger.message(hit.message)
    assert message is not None  # messages are never removed
    return {
        "message": hit.message, "route": message.route, "state": message.state, "outcome": message.outcome,
        "received_at": utc_text(message.received_at), "file_name": escape_name(message.file_name),
        "found": hit.key, "how": hit.how, "waits_for": one_line(queue.reason(message)),
    }  # fmt: skip


@log.command()
@json_option
@configured
@click.pass_context
def prune(ctx: click.Context, as_json: bool) -> None:
    """Forget payloads and entries whose days are over (`log` of each route), and give their space back.

    The daemon does so by itself every few hours. Messages that are open, held, unsure or failed are never touched.
    """
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.clock import Reading, boot_time
    from cegid_daemon.journal.retention import PruneReport
    from cegid_daemon.journal.retention_pace import RetentionPace

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    report, behind = PruneReport(), timedelta(0)
    with invocation.reading(config) as journal:
        there = journal is not None
    if there:
        policies = {name: route.log for name, route in config.routes.items()}
        with invocation.writing(config) as opened:
            now, pace = Reading(utc_now(), boot_time()), RetentionPace(opened.connection)
            one = pace.next_pass(now, asked=True)
            assert one is not None, "a pass that is asked for may be made"
            report = opened.retention.prune(one.until, policies)
            pace.passed(one, now)
            behind = one.behind
    else:
        note(NO_JOURNAL)
    if behind:
        note(
            f"The clock is {behind.days + 1} day(s) ahead of the last pass of the retention: it jumped, or the daemon "
            "did not run for long. This pass went on by one day; check the clock (`timedatectl`), then run it again."
        )
    if as_json:
        print_json(report)
    else:
        say(f"{report}.")
