"""Files that people name as the place of a result: each appears whole or not at all.

Owns the one way of writing them. What is no regular file (a device, a pipe, an open descriptor) is written through and
never replaced; a link is refused, as nobody can tell whether it or what it leads to is meant.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cegid_daemon.errors import Place, Refused

_OTHER_PLACE = "Name another place."
_LONGEST_STEM = 200  # bytes of a temporary name that are taken from the final one
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr|fd/(\d+))|/proc/(?:self|\d+)/fd/(\d+)")
_STANDARD = {"stdout": 1, "stderr": 2}


@contextmanager
def write_atomically(path: Path, *, private: bool = True) -> Iterator[IO[bytes]]:
    """Opens `path` for writing; the file gets its name once it is whole and durable.

    `private`: only its owner may read it (payloads). Else a file that is there keeps its mode, a new one gets the usual
    one. Raises Refused if it cannot be written; what is there stays as it is then.
    """
    try:
        if (opened := _written_through(path)) is not None:
            with opened:
                yield opened
            return
        with _replaced(path, private) as opened:
            yield opened
    except BrokenPipeError:
        raise  # who reads the pipe has had enough
    except OSError as error:
        raise Refused(
            "the file cannot be written", where=Place(file=str(path)), why=_why(path, error), remedy=_OTHER_PLACE
        ) from error


def refuse_link(path: Path) -> None:
    """Raises Refused if a path is a link."""
    if path.is_symlink():
        raise Refused(
            "a link is not written to", where=Place(file=str(path)),
            why=f"it leads to {path.readlink()}, and only one of the two could be meant",
            remedy="Name the file itself, or remove the link.",
        )  # fmt: skip


def fsync_dir(folder: Path) -> None:
    """Makes the names in a folder durable."""
    _fsync(folder, os.O_DIRECTORY)


def fsync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    _fsync(path, 0)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written_through(path: Path) -> IO[bytes] | None:
    """An open file where there is something that must not be replaced; None: a regular file is to be written."""
    if found := _DESCRIPTOR.fullmatch(str(path)):
        number = _STANDARD[found[1]] if found[1] in _STANDARD else int(found[2] or found[3])
        return os.fdopen(os.dup(number), "wb")
    refuse_link(path)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISREG(mode):
        return None
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb")


@contextmanager
def _replaced(path: Path, private: bool) -> Iterator[IO[bytes]]:
    before = path.lstat() if path.exists() else None
    aside = path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:_LONGEST_STEM])}.{os.getpid()}.part")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(aside, flags, 0o600 if private or before is not None else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            if before is not None:
                _take_over(descriptor, before, private)
            yield opened
            opened.flush()
            os.fsync(descriptor)
        aside.replace(path)
        fsync_dir(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _take_over(descriptor: int, before: os.stat_result, private: bool) -> None:
    """Owner and mode of the file that is replaced. What is private stays the caller's: root may have been lured."""
    if private:
        return
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and not path.parent.exists():
        return f"the folder {path.parent} does not exist"
    return error.strerror or str(error)
