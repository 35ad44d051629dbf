"""Starts the daemon again and again, each time as a process of its own that kills itself at its n-th step.

Run as `zygote.py CONFIGURATION`; reads one number a line (0: never) and answers each with the exit status. The package
is imported once, so that a start costs a fork. A step is whatever touches the outside: a sync, a rename, a removal, a
commit, a rewriting; each counts before and after. Only this file knows of kill points, the daemon does not.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cegid_daemon import cli
from cegid_daemon.cli import root, running  # noqa: F401  # imported once for all
from cegid_daemon.endpoints import folder, renaming
from cegid_daemon.journal.connection import Connection
from cegid_daemon.workshop import Workshop


class Steps:
    """Counts, and ends the process at the n-th step after the first file was opened for reading."""

    def __init__(self, kill_at: int) -> None:
        self._left = kill_at
        self._armed = False

    def arm(self) -> None:
        self._armed = True

    def __call__(self) -> None:
        if self._armed and self._left:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self()
            result = function(*args, **kwargs)
            self()
            return result

        return counted

    def transaction(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def counted(connection: Connection) -> Iterator[None]:
            outermost = connection._depth == 0
            if outermost:
                self()
            with original(connection):
                yield
                if outermost:
                    self()  # before the commit
            if outermost:
                self()

        return counted


def injected(kill_at: int) -> None:
    """Puts the steps around what the daemon does, from outside."""
    steps = Steps(kill_at)
    for name in ("rename", "fsync", "unlink", "mkdir"):
        setattr(os, name, steps.around(getattr(os, name)))
    renaming._renameat2 = steps.around(renaming._renameat2)
    Connection.transaction = steps.transaction(Connection.transaction)  # type: ignore[method-assign]
    Workshop.rewrite = steps.around(Workshop.rewrite)  # type: ignore[method-assign]
    opened = folder._open_regular

    def reading(*args: Any) -> int:
        steps.arm()
        steps()
        return opened(*args)

    folder._open_regular = reading
    stat = os.stat

    def looking(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if isinstance(path, str) and path.endswith(".part"):
            steps.arm()  # a restart that goes on with what was put aside
        return stat(path, *args, **kwargs)

    os.stat = looking


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            if int(line):
                injected(int(line))
            sys.argv = ["cegid-daemon", "run", "--config", sys.argv[1]]
            cli.main()
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
