"""An endpoint in memory (`memory:NAME`): the contract at its plainest, for tests and rehearsals.

Does what a well-behaved folder does, and nothing outlives the process. `lay`, `lay_odd`, `content` and `drop_folder`
are what a sender or receiver on the other side would do; the daemon never calls them.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cegid_daemon.endpoints.paths import checked_name, folder_parts
from cegid_daemon.endpoints.protocol import Abilities
from cegid_daemon.errors import Absent, Exists, Permanent, Place, SourceChanged
from cegid_daemon.model import Identity, Listed

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    identity: Identity
    regular: bool = True


class MemoryEndpoint:
    """Folders as dictionaries; safe for several threads."""

    def __init__(self, label: str = "") -> None:
        self.abilities = Abilities()
        self._label = label
        self._ticks = itertools.count(1)
        self._lock = threading.RLock()
        self._folders: dict[tuple[str, ...], dict[str, _File]] = {(): {}}
        self._made: dict[tuple[str, ...], int] = {(): 0}
        self.being_written: set[str] = set()  # names of files that a sender holds open

    @property
    def where(self) -> str:
        """`memory:` and its label."""
        return f"memory:{self._label}"

    def list(self, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:  # noqa: ARG002
        """The entries, sub-folders too."""
        with self._lock:
            parts = folder_parts(folder)
            entries = [Listed(name, file.identity, file.regular) for name, file in self._folder(folder).items()]
            below = {path[-1] for path in self._folders if path[:-1] == parts and path}
            return entries + [Listed(name, Identity(0), regular=False) for name in below]

    def stat(self, folder: str, name: str) -> Listed | None:
        """The entry as it is now."""
        checked_name(name)
        return next((entry for entry in self.list(folder) if entry.name == name), None)

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[MemoryReading]:
        """Opens a regular file; SourceChanged for anything else."""
        listed = self.stat(folder, name)
        if listed is not None and not listed.regular:
            raise SourceChanged("this is no regular file, and nothing else is ever opened", where=_place(folder, name))
        yield MemoryReading(self, folder, name, self._file(folder, name), start)

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """Keeps the bytes under `name`."""
        checked_name(name)
        self._folder(folder)
        body = b"".join(chunks)
        with self._lock:
            self._refuse_folder(folder, name)
            return self._keep(folder, name, body, regular=True)

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """Renames under one lock."""
        checked_name(to_name)
        with self._lock:
            target = self._folder(to_folder)
            file = self._file(folder, name)
            self._refuse_folder(to_folder, to_name)
            if to_name in target and not replace:
                raise Exists("the name is taken", where=_place(to_folder, to_name))
            del self._folder(folder)[name]
            target[to_name] = _moved(file, next(self._ticks))

    def remove(self, folder: str, name: str) -> None:
        """Removes a file."""
        with self._lock:
            self._file(folder, name)
            del self._folder(folder)[name]

    def make_folder(self, folder: str) -> None:
        """Makes the folder and its parents."""
        parts = folder_parts(folder)
        with self._lock:
            for depth, part in enumerate(parts):
                if part in self._folders[parts[:depth]]:
                    raise Permanent("a file lies where a folder is needed", where=_place(folder, ""))
                if parts[: depth + 1] not in self._folders:
                    self._folders[parts[: depth + 1]] = {}
                    self._made[parts[: depth + 1]] = next(self._ticks)

    def make_new_folder(self, folder: str) -> None:
        """Makes one folder."""
        parent, _, part = folder.rpartition("/")
        with self._lock:
            if part in self._folder(parent) or folder_parts(folder) in self._folders:
                raise Exists("the name is taken", where=_place(folder, ""))
            self.make_folder(folder)

    def remove_folder(self, folder: str) -> None:
        """Removes an empty folder."""
        with self._lock:
            if self._folder(folder):
                raise Permanent("the folder is not empty", where=_place(folder, ""))
            self.drop_folder(folder)

    def swap(self, folder: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        """Under one lock."""
        with self._lock:
            file = self._folder(folder).get(name)
            if (file.body if file is not None else None) != old:
                return False
            if new is not None:
                self._keep(folder, name, new, regular=True)
            elif old is not None:
                self.remove(folder, name)
            return True

    def sync(self, folder: str) -> None:
        """Nothing to sync; the folder must be there."""
        self._folder(folder)

    def mark(self, folder: str) -> str:
        """The number of its making."""
        self._folder(folder)
        return str(self._made[folder_parts(folder)])

    def has_writer(self, folder: str, name: str) -> bool | None:  # noqa: ARG002
        """As the sender says."""
        return name in self.being_written

    def close(self) -> None:
        """Nothing is open."""

    def lay(self, folder: str, name: str, body: bytes) -> None:
        """What a sender does: makes the folder if need be, and puts or replaces a file."""
        self.make_folder(folder)
        with self._lock:
            self._keep(folder, name, body, regular=True)

    def lay_odd(self, folder: str, name: str) -> None:
        """Something that is no regular file."""
        self.make_folder(folder)
        with self._lock:
            self._keep(folder, name, b"", regular=False)

    def content(self, folder: str) -> dict[str, bytes]:
        """The regular files of a folder, as a receiver sees them."""
        with self._lock:
            return {name: file.body for name, file in self._folder(folder).items() if file.regular}

    def drop_folder(self, folder: str) -> None:
        """Takes a folder away with all that is in and below it."""
        parts = folder_parts(folder)
        with self._lock:
            self._folders = {path: files for path, files in self._folders.items() if path[: len(parts)] != parts}

    def _keep(self, folder: str, name: str, body: bytes, *, regular: bool) -> Identity:
        tick = next(self._ticks)
        identity = Identity(len(body), mtime_ns=tick, inode=tick, ctime_ns=tick)
        self._folder(folder)[name] = _File(body, identity, regular)
        return identity

    def _folder(self, folder: str) -> dict[str, _File]:
        try:
            return self._folders[folder_parts(folder)]
        except KeyError:
            raise Absent("the folder is not there", where=_place(folder, "")) from None

    def _file(self, folder: str, name: str) -> _File:
        checked_name(name)
        with self._lock:
            file = self._folder(folder).get(name)
        if file is None:
            raise Absent("the file is not there", where=_place(folder, name))
        return file

    def _refuse_folder(self, folder: str, name: str) -> None:
        if (*folder_parts(folder), name) in self._folders:
            raise Exists("a folder lies under this name", where=_place(folder, name))


class MemoryReading:
    """An open file: the bytes as they were when it was opened."""

    def __init__(self, endpoint: MemoryEndpoint, folder: str, name: str, file: _File, start: int) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._name = name
        self._body = file.body
        self._start = start
        self.identity = file.identity

    def __iter__(self) -> Iterator[bytes]:
        """The bytes in chunks of at most 1 MiB; SourceChanged if the file was replaced meanwhile."""
        for at in range(self._start, len(self._body), CHUNK):
            yield self._body[at : at + CHUNK]
        now = self._endpoint.stat(self._folder, self._name)
        if now is None or now.identity != self.identity:
            raise SourceChanged("the file changed while it was read", where=_place(self._folder, self._name))


def _moved(file: _File, tick: int) -> _File:
    return replace(file, identity=replace(file.identity, ctime_ns=tick))


def _place(folder: str, name: str) -> Place:
    return Place(file="/".join(part for part in (folder, name) if part))
