"""A child that never outlives its parent, whatever the parent dies of."""

from __future__ import annotations

import os
import signal

from cegid_daemon.protection import die_of


def die_with(parent: int) -> None:
    """Called in a child of `parent` after the fork; ends this process if it is too late."""
    die_of(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
