"""How many file descriptors each listener may use, so that the pipeline always has enough of them.

Owns the split of the process's limit (RLIMIT_NOFILE): a reserve for the core, which no listener ever touches, and a
share of the rest for each listener. Journal, workers, endpoints, folder events and open files live off the reserve.
"""

from __future__ import annotations

import resource

RESERVE = 256  # descriptors of the core: journal and its readers, workers, endpoints, events, files being carried
_HIGHEST = 1 << 20  # more is never asked for: an unlimited process would reserve tables for nothing
_MAX_SHARE = 4096  # descriptors of one listener, however many the process may have
_PARTS = {"console": 6, "sftp": 5, "ftp": 4, "probes": 1}  # sixteenths of what the reserve leaves


def raise_limit() -> int:
    """Raises the soft limit of this process to its hard one, and returns the limit that holds. Called at the start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _HIGHEST if hard == resource.RLIM_INFINITY else min(hard, _HIGHEST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """How many descriptors this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _HIGHEST if soft == resource.RLIM_INFINITY else soft


def share(listener: str) -> int:
    """How many descriptors `console`, `probes`, `ftp` or `sftp` may use: sockets, open files, whatever it opens."""
    return share_of(listener, limit())


def share_of(listener: str, descriptors: int) -> int:
    """The share where the process may have so many descriptors. The shares and the reserve never add up to more."""
    left = descriptors - reserve_of(descriptors)
    return min(_MAX_SHARE, left * _PARTS[listener] // sum(_PARTS.values()))


def reserve_of(descriptors: int) -> int:
    """The core's part: RESERVE, or half of a limit that is too small for that."""
    return min(RESERVE, descriptors - descriptors // 2)
