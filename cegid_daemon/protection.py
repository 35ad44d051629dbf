"""What a process does to keep its memory and its files from others on the machine, however it was started.

The unit says the same once more (`UMask=`, `LimitCORE=`); this is for whoever starts the daemon by hand, from cron or
in a container. The standard library has no `prctl`; `ctypes` calls that of the C library.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # prctl(2)
_WRITABLE_BY_OTHERS = 0o002
_FIRST_VICTIM = 500  # of 1,000: when memory runs out, the kernel ends a worker before the daemon


def protect_process() -> None:
    """Called at the start of every command, before a secret is read.

    What is made is never writable by everybody, and the memory is neither dumped nor open to other processes of the
    user, workers above all.
    """
    os.umask(os.umask(0o077) | _WRITABLE_BY_OTHERS)
    protect_memory()


def protect_memory() -> None:
    """No core is dumped, not even into a pipe, and only root may trace this process. A new program begins anew."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)  # RLIMIT_CORE counts for nothing where cores go to a program (core(5))


def die_of(number: int) -> None:
    """Has the kernel send this process a signal when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def offer_as_victim() -> None:
    """Where memory runs out, this process and its children are to end before the daemon does."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            if int(file.read()) < _FIRST_VICTIM:
                file.seek(0)
                file.write(str(_FIRST_VICTIM))
    except OSError:  # no /proc, or a kernel without it: the largest process ends first
        return


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
