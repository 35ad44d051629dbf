"""The root of the command line: every command under one roof, and how their errors end.

Owns the exit codes (docs/operations.md). An error of the tree is told in one line without a traceback; anything else is
a bug, and its traceback goes to the log.
"""

from __future__ import annotations

import logging
from typing import Any

import click

from cegid_daemon import __version__, logs
from cegid_daemon.cli.backup import backup
from cegid_daemon.cli.buffers import buffers
from cegid_daemon.cli.catalogue import catalogue
from cegid_daemon.cli.checking import check
from cegid_daemon.cli.claiming import claim_folder
from cegid_daemon.cli.demo import demo
from cegid_daemon.cli.hashing import hash_password
from cegid_daemon.cli.logbook import log as log_group
from cegid_daemon.cli.messages import discard, release, replay
from cegid_daemon.cli.opening import Invocation, configured
from cegid_daemon.cli.output import tell
from cegid_daemon.cli.rewriting import rewrite
from cegid_daemon.cli.running import once, run
from cegid_daemon.cli.settings import settings
from cegid_daemon.cli.starting import init
from cegid_daemon.cli.status import status
from cegid_daemon.errors import (
    AlreadyRunning,
    BadValue,
    CegidDaemonError,
    ConfigurationError,
    JournalError,
    JournalUnavailable,
)

log = logging.getLogger(__name__)

FAULT, USAGE, TAKEN, JOURNAL, BUG, LATER = 1, 2, 3, 4, 70, 75


class Roof(click.Group):
    """The root group: turns errors into a line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except CegidDaemonError as error:
            tell(error)
            ctx.exit(code_of(error))
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception:
            log.critical("a bug in cegid-daemon; please report it with what follows", exc_info=True)
            ctx.exit(BUG)


def code_of(error: CegidDaemonError) -> int:
    """The exit code an error ends a command with."""
    match error:
        case ConfigurationError() | BadValue():
            return USAGE
        case AlreadyRunning():
            return TAKEN
        case JournalUnavailable():
            return LATER
        case JournalError():
            return JOURNAL
    return FAULT


@click.group(
    cls=Roof,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 well; 1 something is at fault or undecided; 2 usage or configuration; 3 another daemon holds "
    "the state folder; 4 the journal cannot be used; 75 try again later; 70 a bug.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@configured
@click.pass_context
def cegid_daemon(ctx: click.Context) -> None:
    """Carries files between CEGID and an Aurora web store: nothing lost, nothing sent twice, every number explained."""
    ctx.with_resource(logs.telling())
    ctx.ensure_object(Invocation)


for _command in (
    init, check, run, once, status, rewrite, log_group, replay, release, discard, buffers, catalogue, settings, backup,
    hash_password, claim_folder, demo,
):  # fmt: skip
    cegid_daemon.add_command(_command)
