"""The marker beside the journal: it remembers that there was one, and how far it had come.

Its first line names the journal and counts its commits; a journal that has fewer was taken back: an older copy was put
in its place, or its write-ahead log was removed. Written after each commit and never before it, so it may lag behind,
but is never ahead. Its bytes far behind the text are the lock of `wal_lock`.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cegid_daemon.errors import JournalUnavailable, Place
from cegid_daemon.files import fsync_dir

_LINE = "journal {generation:26} commits {commits:012}\n"
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_LINE_BYTES = len(_LINE.format(generation="", commits=0))
_FORM = re.compile(rb"journal ([0-9A-Z]{26}) commits ([0-9]{12})\n")
_TEXT = """\
cegid-daemon keeps a journal beside this file and will not begin an empty one while this file is here.
If the journal is gone, put a backup of it in its place. To begin anew, knowing that everything is forgotten
(what was delivered, buffers, the log), remove this file.
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a journal has come."""

    generation: str  # a new one for each history: a journal that was taken back goes on under another
    commits: int


def marker(path: Path) -> Path:
    """The marker of the journal at `path`."""
    return path.with_name(f"{path.name}.kept")


def read_marker(path: Path) -> Progress | None:
    """What the marker of the journal at `path` knows; None if there is none, or one of an earlier version."""
    try:
        with open(marker(path), "rb") as file:
            return _parse(file.read(_LINE_BYTES))
    except OSError:
        return None


class Marker:
    """The open marker; makes it if it is not there. Raises JournalUnavailable."""

    def __init__(self, path: Path) -> None:
        self.path = marker(path)
        try:
            self.descriptor = self._open(path)
        except OSError as exc:
            raise JournalUnavailable(
                "the state folder cannot be written", where=Place(file=str(self.path)), why=str(exc),
                remedy="Give the daemon's user a state folder it may write to, with free space.",
            ) from exc  # fmt: skip

    def _open(self, path: Path) -> int:
        made = not self.path.exists()
        try:
            descriptor = os.open(self.path, _OPEN, 0o600)
        except PermissionError:  # made by root for a daemon that is not: a folder of our own lets us replace it
            self.path.unlink()
            made, descriptor = True, os.open(self.path, _OPEN, 0o600)
        if made:
            if os.geteuid() == 0:
                owner = path.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            fsync_dir(path.parent)
        return descriptor

    def progress(self) -> Progress | None:
        """How far the journal had come; None: not known."""
        return _parse(os.pread(self.descriptor, _LINE_BYTES, 0))

    def is_in_place(self) -> bool:
        """Whether the open file is still the one beside the journal; somebody may have removed or replaced it."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except OSError:
            return False

    def modified_at(self) -> float:
        """When the last commit was noted, in seconds since 1970."""
        return os.fstat(self.descriptor).st_mtime

    def begin(self, progress: Progress) -> None:
        """Writes the whole file, for a journal that is new to it."""
        body = self._line(progress) + _TEXT.encode()
        os.pwrite(self.descriptor, body, 0)
        os.ftruncate(self.descriptor, len(body))

    def advance(self, progress: Progress) -> None:
        """Notes a commit that is durable. A file that cannot be written lags behind, which is allowed."""
        with contextlib.suppress(OSError):
            os.pwrite(self.descriptor, self._line(progress), 0)

    @staticmethod
    def _line(progress: Progress) -> bytes:
        return _LINE.format(generation=progress.generation, commits=progress.commits).encode()

    def close(self) -> None:
        """Closes the file, and so ends every lock on it."""
        os.close(self.descriptor)


def _parse(line: bytes) -> Progress | None:
    found = _FORM.fullmatch(line)
    return Progress(found[1].decode(), int(found[2])) if found else None
