"""Files of secrets, and the configuration itself, whose modes let others in: what `check` and `run` warn of."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_OPEN = stat.S_IRWXO | stat.S_IWGRP  # a group that may read is how root hands a secret to the daemon


def loose_files(path: Path, document: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """One warning a file, for the configuration at `path` with this content."""
    warnings = []
    if _mode(path) & _WRITABLE:
        warnings.append(f"others may write into {str(path)!r}, and so decide what the daemon does: chmod go-w it")
    secrets = dict.fromkeys(_named(document, path.parent, environment.get("CREDENTIALS_DIRECTORY", "")))
    warnings += [f"others may read or change the secret in {str(one)!r}: chmod 600 it"
                 for one in secrets if _mode(one) & _OPEN]  # fmt: skip
    return warnings


def _named(value: Any, folder: Path, credentials: str) -> Iterator[Path]:
    """The files of secrets that a part of the configuration names."""
    if isinstance(value, list):
        for one in value:
            yield from _named(one, folder, credentials)
    if not isinstance(value, Mapping):
        return
    if len(value) == 1 and isinstance(name := value.get("file"), str):
        yield folder / name
    elif len(value) == 1 and credentials and isinstance(name := value.get("credential"), str):
        yield Path(credentials, name)
    key = value.get("host_key") or value.get("key") or value.get("certificate")  # the key may stand behind the chain
    if isinstance(key, str):
        yield folder / key
    for one in value.values():
        yield from _named(one, folder, credentials)


def _mode(path: Path) -> int:
    """What others may do with a regular file; nothing where it is none, which another rule tells.

    The group that is the user's own counts as the user: many systems give each one, and let it write.
    """
    try:
        found = path.stat()
    except OSError:
        return 0
    if not stat.S_ISREG(found.st_mode):
        return 0
    return stat.S_IMODE(found.st_mode) & ~(stat.S_IRWXG if found.st_gid == os.getegid() else 0)
