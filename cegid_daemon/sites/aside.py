"""Where an upload is written until it is whole: a folder aside, and in it a new file or one that is gone on with.

Owns descriptors, never paths: no rename on the way leads an upload elsewhere, and no link is followed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

ASIDE = ".uploading"

_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Aside:
    """Where an upload is written and where it goes; owns both descriptors."""

    folder_path: str
    name: str
    folder: int
    aside: int

    def close(self) -> None:
        """Closes the descriptors; the folder aside is removed if it is empty."""
        with suppress(OSError):
            os.rmdir(ASIDE, dir_fd=self.folder)
        os.close(self.aside)
        os.close(self.folder)


def opened(where: Aside, *, resume: bool) -> int:
    """The file to write to: a new one; with `resume` what broke off, or a copy of what is there. Raises OSError."""
    if not resume:
        with suppress(FileNotFoundError):
            os.unlink(where.name, dir_fd=where.aside)  # an earlier upload goes on into nothing
        return os.open(where.name, _OPEN | os.O_EXCL, 0o666, dir_fd=where.aside)
    try:
        file = os.open(where.name, _OPEN & ~os.O_CREAT, dir_fd=where.aside)
    except FileNotFoundError:
        return _copied(where)
    if not _outdated(where, file):
        return file
    os.close(file)
    os.unlink(where.name, dir_fd=where.aside)
    return _copied(where)


def _outdated(where: Aside, file: int) -> bool:
    """Whether a whole file came after what broke off."""
    try:
        there = os.stat(where.name, dir_fd=where.folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return there.st_mtime_ns >= os.fstat(file).st_mtime_ns


def _copied(where: Aside) -> int:
    """A copy of the file that is there: it stays whole while the copy is written on."""
    file = os.open(where.name, _OPEN | os.O_EXCL, 0o666, dir_fd=where.aside)
    try:
        with suppress(FileNotFoundError):
            _copy(os.open(where.name, _SOURCE, dir_fd=where.folder), file)
    except BaseException:
        os.close(file)
        raise
    return file


def _copy(source: int, target: int) -> None:
    try:
        offset = 0
        while piece := os.pread(source, _PIECE, offset):
            offset += os.pwrite(target, piece, offset)
    finally:
        os.close(source)
