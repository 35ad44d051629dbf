"""`init`: a working starter folder."""

from __future__ import annotations

from pathlib import Path

import click

from cegid_daemon.cli.output import json_option, print_json, say


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Make DIR a working starter folder.

    This folder unless named. Configuration, templates, samples, systemd units, inbox and outbox. What is there already
    stays as it is.
    """
    from cegid_daemon import starter

    started = starter.start(folder)
    if as_json:
        print_json({"folder": str(started.config.folder), "made": list(map(str, started.made)),
                    "kept": list(map(str, started.kept))})  # fmt: skip
        return
    say(f"{started.config.folder}: files and folders made: {len(started.made)}.")
    for path in started.kept:
        say(f"  kept as it is: {path}")
    if started.made:
        say(f"Next: cegid-daemon run --config {started.config.path}")
