"""`catalogue`: which variation belongs to which product."""

from __future__ import annotations

from pathlib import Path

import click

from cegid_daemon.cli.opening import Invocation, configured, store_option, the_store
from cegid_daemon.cli.output import json_option, note, print_json, say
from cegid_daemon.cli.sheets import Sheet, merge

COLUMNS = ("store", "variation", "product")


@click.group()
@configured
def catalogue() -> None:
    """Look into the catalogue, or add to it. Product files keep it current by themselves."""


@catalogue.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@configured
@click.pass_context
def import_(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Merge a CSV file with the columns store,variation,product, whole or not at all.

    Variations not listed stay; a blank product unsets. A row that cannot be taken leaves the others alone; the exit
    code is 1 then.
    """
    merge(ctx, Sheet(file, COLUMNS), "catalogue import", as_json, lambda book: book.import_catalogue)


@catalogue.command()
@click.argument("variation")
@store_option
@json_option
@configured
@click.pass_context
def get(ctx: click.Context, variation: str, store: str | None, as_json: bool) -> None:
    """Show the product a VARIATION belongs to."""
    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    name = the_store(config, store).name
    with invocation.reading(config) as journal:
        product = journal.book.product_of(name, variation) if journal else None
    if as_json:
        print_json({"store": name, "variation": variation, "product": product})
    elif product is not None:
        say(product)
    else:
        note("not in the catalogue")
