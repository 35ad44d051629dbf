"""The one interface of every place files are taken from or put into; its comments are the contract.

Every adapter (folder, memory, FTP, FTPS, SFTP …) passes tests/contract/. An adapter translates foreign errors at its
border into the tree of `errors.py` (`raise … from exc`): it classifies, the caller decides. It never retries, never
logs, never chooses names. Every call has a deadline: a silent peer ends as `Transient`, never as a hang.

Paths: `folder` is relative to the endpoint's URL, with `/` between parts and blank for the root; `name` is one path
part, never `/`, NUL, blank, `.` or `..` (`ValueError`: a bug of the caller), and is never resolved out of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

from cegid_daemon.model import Identity, Listed


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an endpoint can do; the caller asks instead of trying."""

    renames: bool = True  # rename within the endpoint is atomic for whoever lists
    replaces: bool = True  # rename over an existing name works, atomically
    remote: bool = False  # settle by two equal listings, poll instead of events
    together: bool = False  # many small files at once cost hardly more than one, and are taken in their order
    posts: bool = False  # takes requests and answers them (`Poster`), instead of holding files (`Endpoint`)


class Reachable(Protocol):
    """What every endpoint has, whether it holds files or answers requests."""

    @property
    def abilities(self) -> Abilities:
        """What it can do."""

    @property
    def where(self) -> str:
        """The place itself without secrets; two endpoints with the same text are the same place."""

    def close(self) -> None:
        """Ends connections. It may be used again afterwards: it connects anew."""


@runtime_checkable
class Telling(Protocol):
    """An endpoint that can say what its server told of itself."""

    @property
    def where(self) -> str:
        """The place itself without secrets."""

    def facts(self) -> Mapping[str, str]:
        """What distinguishes this server, in words for people; the same at every login until somebody changes it.

        Logs in if need be. Raises as any other call does.
        """


@runtime_checkable
class Marking(Protocol):
    """An endpoint that can tell a folder from another one under the same path: made again, or not mounted."""

    def mark(self, folder: str) -> str:
        """The same as long as it is the same folder, whatever happens in it. Raises Absent if it is not there."""


@runtime_checkable
class WriterCheck(Protocol):
    """An endpoint that can tell, of some files at least, whether they are still being written."""

    def has_writer(self, folder: str, name: str) -> bool | None:
        """Whether a process has the file open for writing; None where that cannot be known. Never raises."""


@runtime_checkable
class Swapping(Protocol):
    """An endpoint that changes a small file under a condition: those of this machine can."""

    def swap(self, folder: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        """Changes the file only if it still is `old`; None: no file. False if it is not. Durable when it returns."""


class Reading(Protocol):
    """An open file of an endpoint."""

    @property
    def identity(self) -> Identity:
        """The identity of what was opened, taken from the open file where the endpoint can."""

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, in chunks of at most 1 MiB.

        After the last chunk the identity is taken again.
        Raises SourceChanged if it differs from the first or from the number of bytes given out.
        """


class Endpoint(Protocol):
    """A place files are taken from or put into."""

    @property
    def abilities(self) -> Abilities:
        """What it can do; a remote endpoint may learn better once it has connected."""

    @property
    def where(self) -> str:
        """The place itself without secrets (`file:/srv/inbox`, `sftp://aurora@host:22/exchange`).

        Stored with each delivery: two endpoints with the same text are the same place.
        """

    def list(self, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:
        """The entries of `folder` itself, in no order; sub-folders and other things with `regular=False`.

        Names that are not `wanted` (None: all are) may lack their time, where it has to be asked for. A symlink is not
        regular, wherever it points. What a server lists and nobody understands is in `listing.unread_lines` of the
        result. Raises Absent if the folder is not there.
        """

    def stat(self, folder: str, name: str) -> Listed | None:
        """The entry `name` as it is now, or None if there is none. Raises Absent if the folder is not there."""

    def read(self, folder: str, name: str, start: int = 0) -> AbstractContextManager[Reading]:
        """Opens a regular file. Never follows a symlink, never opens (or blocks on) a FIFO: SourceChanged.

        The bytes come from byte `start` on (a download that is resumed); the identity is the whole file's.

        Raises Absent if it is not there, Transient if it may not be read now.
        """

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """Writes a whole file under `name`, replacing what is there, and makes its bytes durable before it returns.

        The name itself is durable from the next `sync` of the folder on: one for many files.

        Returns the identity read back from the receiver; its size is what was sent where the receiver tells none.
        Raises Transient if the size read back is not what was sent, or the disk is full; Interrupted if the line broke
        before all was sent; Unsure if it broke after that, before the receiver had answered; Taken if the receiver had
        the whole file, which is gone from there already. What was half written may remain under `name`.
        """

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """Renames in one step that no lister can see half of; a file is never absent under both names.

        Raises Absent if `name` is not there, Exists if `to_name` is and `replace` is False (or the endpoint cannot
        replace), Unsure if the answer was lost. Missing `to_folder` is not made.
        """

    def remove(self, folder: str, name: str) -> None:
        """Removes a file. Raises Absent if it is not there."""

    def make_folder(self, folder: str) -> None:
        """Makes `folder` and its missing parents below the endpoint's root; one that is there is no error."""

    def make_new_folder(self, folder: str) -> None:
        """Makes `folder`, whose parent is there: of several that do, only one makes it, and the others get Exists."""

    def remove_folder(self, folder: str) -> None:
        """Removes an empty folder. Raises Absent if it is not there."""

    def sync(self, folder: str) -> None:
        """Makes new names and renames in `folder` durable where the endpoint can (fsync of a directory)."""

    def close(self) -> None:
        """Ends connections. The endpoint may be used again afterwards: it connects anew."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an API answered. `body` passes once, in pieces of at most 1 MiB, and raises Unsure where it is cut."""

    status: int
    body: Iterator[bytes]
    retry_after: timedelta | None = None


class Poster(Reachable, Protocol):
    """An API that takes requests and answers them."""

    def greet(self) -> None:
        """Connects, looks whether the other side is who it should be, and hangs up. Raises as `post` does."""

    def post(self, method: str, body: Iterable[bytes], size: int, request_uid: str) -> AbstractContextManager[Answer]:
        """Sends one envelope of `size` bytes for `method`; whatever status comes back is an answer.

        Raises Transient if the request cannot have arrived whole (not connected, not sent whole, not due yet),
        Untrusted if the other side is not who it should be, Unsure if it was sent and no answer came.
        """
