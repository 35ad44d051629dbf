"""What can be added around any endpoint: `Resuming` goes on with a broken download, `Paced` keeps to a limit of files.

A wrapper is an endpoint and holds one. It adds what its name says and leaves everything else as it is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial

from cegid_daemon.endpoints.many import (
    Fetched,
    Looked,
    Move,
    Small,
    put_many,
    put_one,
    read_listed,
    read_many,
    remove_many,
    rename_many,
    stat_many,
)
from cegid_daemon.endpoints.protocol import Abilities, Endpoint, Reading, Swapping, Telling, WriterCheck
from cegid_daemon.endpoints.remote import Pace
from cegid_daemon.errors import EndpointError, Place, SourceChanged, Transient
from cegid_daemon.model import Identity, Listed

_BEAT_EVERY = 20.0  # seconds


class Wrapped:
    """An endpoint that does everything as the one it holds."""

    def __init__(self, inner: Endpoint) -> None:
        self._inner = inner

    @property
    def abilities(self) -> Abilities:
        """Those of the endpoint inside."""
        return self._inner.abilities

    @property
    def where(self) -> str:
        """The place of the endpoint inside."""
        return self._inner.where

    def facts(self) -> Mapping[str, str]:
        """As inside; none where the endpoint inside tells none."""
        return self._inner.facts() if isinstance(self._inner, Telling) else {}

    def has_writer(self, folder: str, name: str) -> bool | None:
        """As inside; None where the endpoint inside cannot tell."""
        return self._inner.has_writer(folder, name) if isinstance(self._inner, WriterCheck) else None

    def list(self, folder: str, wanted: Callable[[str], bool] | None = None) -> list[Listed]:
        """As inside."""
        return self._inner.list(folder, wanted)

    def stat(self, folder: str, name: str) -> Listed | None:
        """As inside."""
        return self._inner.stat(folder, name)

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[Reading]:
        """As inside."""
        with self._inner.read(folder, name, start) as reading:
            yield reading

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """As inside."""
        return self._inner.put(folder, name, chunks)

    def rename(self, folder: str, name: str, to_folder: str, to_name: str, *, replace: bool) -> None:
        """As inside."""
        self._inner.rename(folder, name, to_folder, to_name, replace=replace)

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """As inside."""
        return read_many(self._inner, folder, files)

    def rename_many(
        self, folder: str, to_folder: str, moves: Sequence[Move], *, replace: bool
    ) -> Sequence[EndpointError | None]:
        """As inside."""
        return rename_many(self._inner, folder, to_folder, moves, replace=replace)

    def put_many(self, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
        """As inside."""
        return put_many(self._inner, folder, files)

    def stat_many(self, folder: str, names: Sequence[str]) -> Sequence[Looked]:
        """As inside."""
        return stat_many(self._inner, folder, names)

    def remove_many(self, folder: str, names: Sequence[str]) -> Sequence[EndpointError | None]:
        """As inside."""
        return remove_many(self._inner, folder, names)

    def remove(self, folder: str, name: str) -> None:
        """As inside."""
        self._inner.remove(folder, name)

    def make_folder(self, folder: str) -> None:
        """As inside."""
        self._inner.make_folder(folder)

    def make_new_folder(self, folder: str) -> None:
        """As inside."""
        self._inner.make_new_folder(folder)

    def remove_folder(self, folder: str) -> None:
        """As inside."""
        self._inner.remove_folder(folder)

    def swap(self, folder: str, name: str, old: bytes | None, new: bytes | None) -> bool:
        """As inside; only what is of this machine can."""
        assert isinstance(self._inner, Swapping)
        return self._inner.swap(folder, name, old, new)

    def sync(self, folder: str) -> None:
        """As inside."""
        self._inner.sync(folder)

    def close(self) -> None:
        """As inside."""
        self._inner.close()


class Resuming(Wrapped):
    """Goes on with a download where the line broke, as long as the file is the same and each try gets further."""

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[Reading]:
        """As inside, but a break of the line is not the end."""
        with ExitStack() as opened:
            yield _Resumed(opened, partial(self._inner.read, folder, name), start)


class _Resumed:
    """A reading that is opened anew where it broke."""

    def __init__(
        self, opened: ExitStack, open_at: Callable[[int], AbstractContextManager[Reading]], start: int
    ) -> None:
        self._opened = opened
        self._open_at = open_at
        self._start = start
        self._reading = opened.enter_context(open_at(start))

    @property
    def identity(self) -> Identity:
        """Of the file as it was first opened."""
        return self._reading.identity

    def __iter__(self) -> Iterator[bytes]:
        """The bytes; a Transient passes when a try got no further than the one before."""
        at, tried_at, chunks = self._start, -1, iter(self._reading)
        while True:
            try:
                chunk = next(chunks, b"")
            except Transient:
                if at == tried_at:
                    raise
                tried_at, chunks = at, self._go_on(at)
                continue
            if not chunk:
                return
            at += len(chunk)
            yield chunk

    def _go_on(self, at: int) -> Iterator[bytes]:
        with suppress(EndpointError):  # the broken one can only be given up
            self._opened.close()
        again = self._opened.enter_context(self._open_at(at))
        if again.identity != self.identity:
            raise SourceChanged("the file changed while its download was broken off")
        return iter(again)


class Paced(Wrapped):
    """Reads and puts at most so many files in a time, as some of CEGID's servers demand. Waits its turn."""

    def __init__(
        self, inner: Endpoint, pace: Pace, clock: Callable[[], float] = time.monotonic,
        *, beat: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(inner)
        self._beat = beat or (lambda: None)
        self._pace = pace
        self._clock = clock
        self._begun: deque[float] = deque(maxlen=pace.files)
        self._closed = threading.Condition()
        self._era = 0

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[Reading]:
        """As inside, when its turn has come."""
        self._wait()
        with self._inner.read(folder, name, start) as reading:
            yield reading

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """One after the other, each when its turn has come."""
        return (read_listed(self, folder, file) for file in files)

    def put_many(self, folder: str, files: Sequence[Small]) -> Sequence[EndpointError | None]:
        """One after the other, each when its turn has come."""
        return [put_one(self, folder, file) for file in files]

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """As inside, when its turn has come."""
        self._wait()
        return self._inner.put(folder, name, chunks)

    def close(self) -> None:
        """As inside; whoever waits for a turn gets Transient."""
        with self._closed:
            self._era += 1
            self._closed.notify_all()
        self._inner.close()

    def _wait(self) -> None:
        """Takes the next turn: a file may begin when the one `pace.files` before it began a `pace.span` ago."""
        span = self._pace.span.total_seconds()
        with self._closed:
            era = self._era
            while len(self._begun) == self._pace.files and (rest := self._begun[0] + span - self._clock()) > 0:
                self._beat()
                self._closed.wait(min(rest, _BEAT_EVERY))
                if era != self._era:
                    raise Transient(
                        "not begun: the endpoint was closed while the file waited for its turn",
                        where=Place(file=self.where),
                        remedy="It is tried again by itself.",
                    ).by_place()
            self._begun.append(self._clock())
