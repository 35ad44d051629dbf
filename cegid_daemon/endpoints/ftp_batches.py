"""What an FTP endpoint does with many files at once: commands sent ahead, transfers over several connections.

Owns which files may share their round trips, and what becomes of each when the line breaks among them. Data connections
cannot be sent ahead: small files go over as many connections as the endpoint may have. What was refused is asked for
again the ordinary way, which finds out why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

from cegid_daemon.endpoints.connections import Connections
from cegid_daemon.endpoints.ftp_link import FtpLink
from cegid_daemon.endpoints.ftp_place import FtpPlace
from cegid_daemon.endpoints.ftp_words import NOT_IMPLEMENTED, Refusal
from cegid_daemon.endpoints.many import (
    Fetched,
    Looked,
    Move,
    Small,
    put_one,
    read_listed,
    remove_one,
    rename_one,
    stat_one,
)
from cegid_daemon.endpoints.protocol import Endpoint
from cegid_daemon.errors import EndpointError, Interrupted, Permanent, Transient, Unsure
from cegid_daemon.model import Listed

T = TypeVar("T")
R = TypeVar("R")
Reply = str | Refusal


class FtpBatches:
    """The half of an FTP endpoint that takes many files (`many.Many`)."""

    def __init__(self, pool: Connections[FtpLink], site: FtpPlace, channels: int) -> None:
        self._pool = pool
        self._site = site
        self._channels = channels

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """Reads listed files whole, a few at a time."""
        step = 4 * self._channels
        for at in range(0, len(files), step):
            yield from self._abreast(lambda file: read_listed(self._single, folder, file), files[at : at + step])

    def put_many(self, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
        """Writes small files over several connections; none is begun after an error that is not for good."""
        reasons: list[EndpointError] = []
        lock = threading.Lock()

        def put(file: Small) -> EndpointError | None:
            with lock:
                if reasons:
                    return _not_begun(reasons[0])
            error = put_one(self._single, folder, file)
            if error is not None and not isinstance(error, Permanent):
                with lock:
                    reasons.append(error)
            return error

        return self._abreast(put, files)

    def rename_many(
        self, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> Sequence[EndpointError | None]:
        """Renames with all commands under way at once; one by one where a name is taken and must not be."""

        def one_by_one(some: Sequence[Move]) -> list[EndpointError | None]:
            return [rename_one(self._single, folder, to_folder, move, replace=replace) for move in some]

        replies: list[Reply] = []
        try:
            with self._pool.lend() as link:
                lines = self._renames(link, folder, to_folder, moves, replace=replace)
                with link.once("cannot rename the files", self._site.text(folder)):
                    replies.extend(self._site.commands(link, lines or []))
        except Permanent:  # a name that cannot be said
            return one_by_one(moves)
        except EndpointError as error:
            answered = self._of_pairs(folder, to_folder, moves[: len(replies) // 2], replies, replace=replace)
            return [*answered, *[error] * (len(moves) - len(answered))]
        self._site.forget(folder, [move.name for move in moves])
        self._site.forget(to_folder, [move.to_name for move in moves])
        if not lines:
            return one_by_one(moves)
        return self._of_pairs(folder, to_folder, moves, replies, replace=replace)

    def _of_pairs(
        self, folder: str, to_folder: str, moves: Sequence[Move], replies: Sequence[Reply], *, replace: bool
    ) -> list[EndpointError | None]:
        """What two replies a file come to. What was refused is tried again where nothing behind it was renamed yet."""
        refused = [_refusal(first, second) for first, second in zip(replies[::2], replies[1::2], strict=False)]
        last = max((at for at, refusal in enumerate(refused) if refusal is None), default=-1)
        outcomes: list[EndpointError | None] = []
        for at, (move, refusal) in enumerate(zip(moves, refused, strict=True)):
            if refusal is None:
                outcomes.append(None)
            elif at < last:  # or it would come after them
                outcomes.append(self._reason(folder, to_folder, move, refusal))
            else:
                outcomes.append(rename_one(self._single, folder, to_folder, move, replace=replace))
        return outcomes

    def _reason(self, folder: str, to_folder: str, move: Move, refusal: Refusal) -> EndpointError:
        """Why a rename was refused, as far as a look can tell."""
        what = f"cannot rename the file to {self._site.text(to_folder, move.to_name)}"
        try:
            with self._pool.lend() as link:
                to = self._site.path(link, to_folder, move.to_name)
                with self._site.explaining(link, what, folder, move.name, to=to):
                    raise refusal
        except EndpointError as error:
            return error

    def stat_many(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        """Looks with all commands under way at once, and lists the folder once where that leaves something open."""
        if len(names) < 2:  # which a whole listing would not be worth
            return [stat_one(self._single, folder, name) for name in names]
        try:
            with self._pool.lend() as link, link.telling("cannot look at the files", self._site.text(folder)):
                return self._site.look_many(link, folder, names)
        except Permanent:
            return [stat_one(self._single, folder, name) for name in names]
        except EndpointError as error:
            return [error] * len(names)

    def remove_many(self, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
        """Removes with all commands under way at once."""
        replies: list[Reply] = []
        error: EndpointError | None = None
        try:
            with self._pool.lend() as link, link.telling("cannot remove the files", self._site.text(folder)):
                lines = [f"DELE {self._site.path(link, folder, name)}" for name in names]
                replies.extend(self._site.commands(link, lines))
        except Permanent:
            return [remove_one(self._single, folder, name) for name in names]
        except EndpointError as raised:
            error = raised
        answered = zip(names, replies, strict=False)
        outcomes = [
            remove_one(self._single, folder, name) if isinstance(one, Refusal) else None for name, one in answered
        ]
        return outcomes + [error] * (len(names) - len(outcomes))

    def _renames(
        self, link: FtpLink, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> list[str] | None:
        """The commands, two a file; None if a name may be taken that must not be replaced."""
        with link.telling("cannot rename the files", self._site.text(folder)):
            paths = [self._site.path(link, folder, move.name) for move in moves]
            to_paths = [self._site.path(link, to_folder, move.to_name) for move in moves]
            if not replace and self._any_taken(link, to_paths):
                return None
            ways = zip(paths, to_paths, strict=True)
            return [line for path, to in ways for line in (f"RNFR {path}", f"RNTO {to}")]

    def _any_taken(self, link: FtpLink, paths: Sequence[str]) -> bool:
        """Whether something has one of these names, as far as few questions can tell."""
        asking = "MLST" if self._site.has_mlst(link) else "SIZE"
        lines = [f"{word} {path}" for path in paths for word in (asking, "CWD")]
        replies = list(self._site.commands(link, lines))
        return not all(isinstance(reply, Refusal) and reply.code not in NOT_IMPLEMENTED for reply in replies)

    @property
    def _single(self) -> Endpoint:
        """The whole endpoint, for what goes the ordinary way."""
        return cast(Endpoint, self)

    def _abreast(self, do: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Does something with each item over the connections there may be; the results in order."""
        if len(items) < 2 or self._channels < 2:
            return [do(item) for item in items]
        with ThreadPoolExecutor(min(self._channels, len(items)), thread_name_prefix="abreast") as threads:
            return list(threads.map(do, items))


def _not_begun(reason: EndpointError) -> EndpointError:
    """What the error of one file means for those that were not begun because of it: nothing of them is unsure."""
    if not isinstance(reason, Unsure | Interrupted):
        return reason
    return Transient("not begun", where=reason.where, why=f"an upload before it failed: {reason.what}",
                     remedy="It is tried again by itself.")  # fmt: skip


def _refusal(first: Reply, second: Reply) -> Refusal | None:
    """The refusal of a rename, of its first command or of its second."""
    return first if isinstance(first, Refusal) else second if isinstance(second, Refusal) else None
