"""`buffers`: the stock buffers at Variation, Product and Store level, with their history."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cegid_daemon.cli.feeding import import_by_layout
from cegid_daemon.cli.moments import Moment
from cegid_daemon.cli.opening import (
    NO_JOURNAL,
    Invocation,
    configured,
    known_store,
    store_option,
    the_store,
    who,
)
from cegid_daemon.cli.output import json_option, note, output_option, print_json, print_json_rows, print_table, say
from cegid_daemon.cli.sheets import Sheet, export, merge

if TYPE_CHECKING:
    from cegid_daemon.journal import Journal
    from cegid_daemon.journal.book import Buffer

COLUMNS = ("store", "level", "key", "value")
_LEVELS = ("variation", "product", "store")

level_option = click.option("--level", type=click.Choice(_LEVELS), required=True, help="What KEY names.")
at_option = click.option("--at", type=Moment(), metavar="TIME", help="As they applied at a past time.")


@click.group()
@configured
def buffers() -> None:
    """See and change stock buffers (units held back).

    The first level that holds zero or a positive whole number is used: variation, product, store. KEY is the
    variation's or the product's code; the store level has none.
    """


@buffers.command("list")
@store_option
@click.option("--level", type=click.Choice(_LEVELS), help="Only this level.")
@at_option
@json_option
@configured
@click.pass_context
def list_(ctx: click.Context, store: str | None, level: str | None, at: datetime | None, as_json: bool) -> None:
    """List the buffers that are set."""
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    known_store(config, store)
    with invocation.reading(config) as journal:
        found = journal.book.list(store, level, revision=_revision(journal, at)) if journal else iter(())
        if as_json:
            print_json_rows(map(_row, found))
        else:
            rows = ((one.store, one.level, one.key, _shown(one)) for one in found)
            print_table([name.upper() for name in COLUMNS], rows)
            if journal is None:
                note(NO_JOURNAL)


def _revision(journal: Journal, at: datetime | None) -> int | None:
    return None if at is None else journal.book.as_of(at)


def _row(buffer: Buffer) -> dict[str, Any]:
    return {**asdict(buffer), "units": buffer.units}


def _shown(buffer: Buffer) -> str:
    return buffer.value if buffer.units is not None else f"{buffer.value} (no value: the next level applies)"


@buffers.command()
@click.argument("key", default="")
@store_option
@level_option
@at_option
@json_option
@configured
@click.pass_context
def get(ctx: click.Context, key: str, store: str | None, level: str, at: datetime | None, as_json: bool) -> None:
    """Show one buffer."""
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    name = the_store(config, store).name
    with invocation.reading(config) as journal:
        found = journal.book.get(name, level, key, _revision(journal, at)) if journal else None
    if as_json:
        print_json(_row(found) if found else None)
    elif found is not None:
        say(_shown(found))
    else:
        note("not set")


@buffers.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key_and_value", nargs=-1, required=True, metavar="[KEY] VALUE")
@store_option
@level_option
@configured
@click.pass_context
def set_(ctx: click.Context, key_and_value: tuple[str, ...], store: str | None, level: str) -> None:
    """Set a buffer. KEY is left out (or blank) at level store.

    VALUE is zero or a positive whole number, in digits alone; anything else is refused and changes nothing. `buffers
    unset` removes a buffer.
    """
    most = 1 if level == "store" else 2
    if len(key_and_value) not in (most, 2) or (
        level == "store" and len(key_and_value) == 2 and key_and_value[0].strip()
    ):
        raise click.UsageError("give KEY VALUE, or at level store VALUE alone")
    key, value = ("", *key_and_value)[-2:]
    _refuse_no_value(value, level, key)
    say(f"{_change(ctx, store, level, key, value).units} held back")


def _refuse_no_value(value: str, level: str, key: str) -> None:
    """Raises click.BadParameter for what defines no buffer: a slip of the finger must not unset one."""
    from cegid_daemon.rewrite.buffers import parse

    if parse(value) is None:
        unset = " ".join(filter(None, ("cegid-daemon buffers unset --level", level, key)))
        raise click.BadParameter(
            f"{value!r} is not zero or a positive whole number; nothing was changed. To remove the buffer: {unset}",
            param_hint="VALUE",
        )


@buffers.command()
@click.argument("key", default="")
@store_option
@level_option
@configured
@click.pass_context
def unset(ctx: click.Context, key: str, store: str | None, level: str) -> None:
    """Unset a buffer: the next level applies."""
    _change(ctx, store, level, key, "")
    say("unset")


def _change(ctx: click.Context, store: str | None, level: str, key: str, value: str) -> Buffer:
    from cegid_daemon.bootstrap import utc_now

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    name = the_store(config, store).name
    with invocation.writing(config) as journal:
        return journal.book.set(name, level, key, value, who=who(), now=utc_now(), origin="buffers set")


@buffers.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layout", metavar="LAYOUT", help="Read it by this layout, shipped or configured, that has a `buffer`: "
              "aurora-product-fields.")  # fmt: skip
@store_option
@json_option
@configured
@click.pass_context
def import_(ctx: click.Context, file: Path, layout: str | None, store: str | None, as_json: bool) -> None:
    """Merge a CSV file with the columns store,level,key,value, whole or not at all.

    Keys not listed stay. A value that defines nothing unsets, and is reported with its line; that is no failure. A row
    that cannot be taken (unknown store or level, no key) leaves the others alone; the exit code is 1 then.

    With --layout it is a file of one store as a route with that layout takes it, such as Aurora's product fields:
    buffers and catalogue go in together.
    """
    if layout is not None:
        import_by_layout(ctx, file, layout, store, as_json)
    if store is not None:
        raise click.UsageError("the file itself names the store of each row; --store goes with --layout")
    merge(ctx, Sheet(file, COLUMNS), "buffers import", as_json, lambda book: book.import_rows)


@buffers.command("export")
@output_option(folders=False)
@store_option
@at_option
@configured
@click.pass_context
def export_(ctx: click.Context, output: Path | None, store: str | None, at: datetime | None) -> None:
    """Write the buffers as CSV that `buffers import` takes again."""
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    known_store(config, store)
    with invocation.reading(config) as journal:
        rows = journal.book.export_rows(store, revision=_revision(journal, at)) if journal else iter(())
        export(output, COLUMNS, rows)
        if journal is None:
            note(NO_JOURNAL)


@buffers.command()
@click.argument("key", default="")
@store_option
@level_option
@json_option
@configured
@click.pass_context
def history(ctx: click.Context, key: str, store: str | None, level: str, as_json: bool) -> None:
    """Show every change of one buffer, oldest first: who set what, when."""
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    name = the_store(config, store).name
    with invocation.reading(config) as journal:
        changes = journal.book.history(name, level, key) if journal else ()
    if as_json:
        print_json_rows(map(asdict, changes))
    else:
        rows = [(one.at, one.who, one.origin, one.value or "(unset)", one.revision) for one in changes]
        print_table(("AT", "WHO", "BY", "VALUE", "REVISION"), rows)
