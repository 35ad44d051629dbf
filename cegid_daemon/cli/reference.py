"""Writes docs/cli.md out of the commands' own help: `python -m cegid_daemon.cli.reference > docs/cli.md`.

A test compares the page with what this gives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from cegid_daemon.cli.root import cegid_daemon

_WIDTH = 100
_OPENING = """\
# The command line

<!-- Made by `make reference` out of the commands' own help: change it there. -->

`--config FILE` (default `./cegid-daemon.toml`) may stand before or after the command. Results go to stdout, everything
beside them (faults, remarks, progress) to stderr; `--json` prints results for programs. Times are UTC. Exit codes stand
in [operations.md](operations.md#exit-codes).

Completion for the shell, commands and options as well as routes and stores of the configuration:

```sh
eval "$(_CEGID_DAEMON_COMPLETE=bash_source cegid-daemon)"      # ~/.bashrc
eval "$(_CEGID_DAEMON_COMPLETE=zsh_source cegid-daemon)"       # ~/.zshrc
_CEGID_DAEMON_COMPLETE=fish_source cegid-daemon | source       # ~/.config/fish/config.fish
```
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_OPENING, *_sections("cegid-daemon", cegid_daemon, None)])


def _sections(name: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    ctx = click.Context(command, parent, name, **{**command.context_settings, "terminal_width": _WIDTH})
    yield f"## `{ctx.command_path}`\n\n```text\n{command.get_help(ctx)}\n```\n"
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _sections(inner_name, inner, ctx)


if __name__ == "__main__":
    sys.stdout.write(reference())
