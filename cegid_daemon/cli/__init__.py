"""The command line: one face of the daemon, without a rule of the business.

A file for each group of commands; `opening` finds configuration and journal, `output` prints. Rooms are imported inside
the commands that need them, so that `--help` and shell completion are quick.
"""

from __future__ import annotations


def main() -> None:
    """The command `cegid-daemon`."""
    import io
    import sys

    from cegid_daemon.cli.root import cegid_daemon
    from cegid_daemon.protection import protect_process

    protect_process()
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # no text may fail to print: paths hold any bytes, terminals are of any kind
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cegid_daemon(prog_name="cegid-daemon")
