"""`settings`: a store's CEGID integration settings, as they apply now."""

from __future__ import annotations

import click

from cegid_daemon.cli.opening import Invocation, configured, known_store, store_option, the_store, who
from cegid_daemon.cli.output import json_option, print_json_rows, print_table, say

_KEYS = ("log-requests", "enabled", "stock-buffer")


@click.group()
@configured
def settings() -> None:
    """See and change the settings of stores.

    They are log-requests, enabled and stock-buffer. The configuration gives first values; what is set here holds from
    then on.
    """


@settings.command()
@click.argument("key", required=False, type=click.Choice(_KEYS))
@store_option
@json_option
@configured
@click.pass_context
def get(ctx: click.Context, key: str | None, store: str | None, as_json: bool) -> None:
    """Show the settings of a store, of every store, or one KEY."""
    from cegid_daemon.journal.settings import configured as first_values

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    known_store(config, store)
    stores = [config.stores[store]] if store else list(config.stores.values())
    with invocation.reading(config) as journal:
        effective = {one.name: journal.book.settings.effective(one) if journal else first_values(one) for one in stores}
    rows = [{"store": name, "key": one, "value": value} for name, values in effective.items()
            for one, value in values.items() if key in (None, one)]  # fmt: skip
    if as_json:
        print_json_rows(rows)
    elif key is not None and len(rows) == 1:
        say(rows[0]["value"])
    else:
        print_table(("STORE", "KEY", "VALUE"), [tuple(row.values()) for row in rows])


@settings.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key", type=click.Choice(_KEYS))
@click.argument("value")
@store_option
@configured
@click.pass_context
def set_(ctx: click.Context, key: str, value: str, store: str | None) -> None:
    """Change a setting: log-requests and enabled take true or false, stock-buffer a whole number or "" for none."""
    from cegid_daemon.bootstrap import utc_now

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    name = the_store(config, store).name
    with invocation.writing(config) as journal:
        journal.book.settings.set(name, key, value, who=who(), origin="settings set", now=utc_now())
        say(f"{name}: {key} = {journal.book.settings.get(name, key) or '(unset)'}")
