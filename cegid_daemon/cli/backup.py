"""`backup`: a checked copy of the journal."""

from __future__ import annotations

from pathlib import Path

import click

from cegid_daemon.cli.opening import NO_JOURNAL, Invocation, configured
from cegid_daemon.cli.output import STDOUT, json_option, plural, print_json, progress, say
from cegid_daemon.errors import Refused


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@configured
@click.pass_context
def backup(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Write a checked copy of the journal to FILE.

    A daemon may run meanwhile. A file that is there is replaced once the copy is proved whole. docs/operations.md tells
    how to restore it.
    """
    from cegid_daemon.journal.backup import backup as copy

    if str(file) == STDOUT:
        raise click.BadParameter("a backup is proved whole as a file and cannot go to stdout", param_hint="FILE")
    invocation = ctx.ensure_object(Invocation)
    with invocation.reading(invocation.config()) as journal:
        if journal is None:
            raise Refused("there is nothing to back up", remedy=NO_JOURNAL)
        with progress(journal.connection.path.stat().st_size, "Copying") as bar:

            def moved(done: int, total: int) -> None:
                bar.length = total
                bar.update(max(0, done - bar.pos))

            copy(journal.connection, file, moved)
    size = file.stat().st_size
    if as_json:
        print_json({"file": str(file.absolute()), "size": size})
    else:
        say(f"{file}: {plural(size, 'byte')}, checked.")
