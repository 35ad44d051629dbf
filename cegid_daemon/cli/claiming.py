"""`claim-folder`: a person decides whose a source folder is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cegid_daemon.cli.opening import Invocation, complete_routes, configured
from cegid_daemon.cli.output import json_option, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cegid_daemon.ownership import MarkedSource


@click.command("claim-folder")
@click.argument("what", metavar="ROUTE|FOLDER", shell_complete=complete_routes)
@json_option
@configured
@click.pass_context
def claim_folder(ctx: click.Context, what: str, as_json: bool) -> None:
    """Take a source folder over from another daemon.

    Each source folder bears a mark, `.cegid-daemon.owner`, that says which daemon takes files from it; a second one
    takes nothing. This command puts this daemon into the mark instead of those whose masks overlap with its own. Stop
    the other one first, or make sure that it is no more: what both take at this moment arrives twice. A running daemon
    of this configuration goes on by itself.
    """
    from cegid_daemon.bootstrap import identification, utc_now
    from cegid_daemon.endpoints import API_SCHEMES, open_endpoint
    from cegid_daemon.ownership import folder_claims
    from cegid_daemon.sources import marked

    invocation = ctx.ensure_object(Invocation)
    config = invocation.config()
    specs = config.endpoints.items()
    endpoints = {name: open_endpoint(spec) for name, spec in specs if spec.scheme not in API_SCHEMES}
    sources = marked(config.routes, endpoints)
    wanted = _chosen(sources, what)
    try:
        with invocation.writing(config) as journal:
            claims = folder_claims(sources, identification(config, journal.ledger.instance()), journal)
            claim = claims[wanted]
            displaced = claim.take(utc_now())
    finally:
        for endpoint in endpoints.values():
            endpoint.close()
    told = [str(one) for one in displaced]
    if as_json:
        print_json({"folder": claim.address, "taken_from": told})
        return
    for one in told:
        say(f"taken from {one}")
    say(f"{claim.address} is this daemon's now.")


def _chosen(sources: Sequence[MarkedSource], what: str) -> str:
    """The address of the folder that was named by a route or by its path."""
    path = f"file:{Path(what).absolute()}"
    for source in sources:
        if what in (source.route, source.address) or source.address == path:
            return source.address
    known = ", ".join(f"{one.route} ({one.address.removeprefix('file:')})" for one in sources) or "none"
    raise click.BadParameter(
        f"{what!r} is neither a route nor the folder of a source that bears a mark; there are: {known}. On a server "
        "the source needs owner_mark = true.", param_hint="ROUTE|FOLDER",
    )  # fmt: skip
