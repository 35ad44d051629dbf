"""`hash-password`: what the configuration holds instead of a password."""

from __future__ import annotations

import sys

import click

from cegid_daemon import passwords
from cegid_daemon.cli.output import json_option, print_json, say
from cegid_daemon.errors import BadValue


@click.command("hash-password")
@json_option
def hash_password(as_json: bool) -> None:
    """Hash a password for a user of the drop site.

    Asks for the password twice, or reads it as a line from stdin where no person is there. The hash goes into a
    credential or a file only the daemon can read: the password cannot be read back from it, but it can be guessed at.
    """
    password = _asked() if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not password:
        raise BadValue("the password is empty", remedy="Give one, best a long one.")
    text = passwords.hashed(password)
    if as_json:
        print_json({"hash": text})
    else:
        say(text)


def _asked() -> str:
    return str(click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True))
