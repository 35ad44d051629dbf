"""Around an endpoint or API: with every piece that passes it tells the watchdog that the transfer gets on.

Owns nothing else. A transfer may take hours as long as pieces pass; each of them has its own deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from cegid_daemon.endpoints.many import Fetched
from cegid_daemon.endpoints.protocol import Abilities, Answer, Endpoint, Poster, Reading
from cegid_daemon.endpoints.wrapping import Wrapped
from cegid_daemon.model import Identity, Listed

T = TypeVar("T")
Beat = Callable[[], None]


class Beating(Wrapped):
    """An endpoint whose transfers beat."""

    def __init__(self, inner: Endpoint, beat: Beat) -> None:
        super().__init__(inner)
        self._beat = beat

    @contextmanager
    def read(self, folder: str, name: str, start: int = 0) -> Iterator[Reading]:
        """As inside."""
        with self._inner.read(folder, name, start) as reading:
            yield _Reading(reading, self._beat)

    def read_many(self, folder: str, files: Sequence[Listed]) -> Iterator[Fetched]:
        """As inside."""
        return _each(super().read_many(folder, files), self._beat)

    def put(self, folder: str, name: str, chunks: Iterable[bytes]) -> Identity:
        """As inside."""
        return self._inner.put(folder, name, _each(chunks, self._beat))


class BeatingApi:
    """An API whose requests and answers beat."""

    def __init__(self, inner: Poster, beat: Beat) -> None:
        self._inner = inner
        self._beat = beat

    @property
    def abilities(self) -> Abilities:
        """Those of the API inside."""
        return self._inner.abilities

    @property
    def where(self) -> str:
        """The place of the API inside."""
        return self._inner.where

    def greet(self) -> None:
        """As inside."""
        self._inner.greet()

    @contextmanager
    def post(self, method: str, body: Iterable[bytes], size: int, request_uid: str) -> Iterator[Answer]:
        """As inside."""
        with self._inner.post(method, _each(body, self._beat), size, request_uid) as answer:
            yield replace(answer, body=_each(answer.body, self._beat))

    def close(self) -> None:
        """As inside."""
        self._inner.close()


class _Reading:
    """An open file whose bytes beat."""

    def __init__(self, inner: Reading, beat: Beat) -> None:
        self._inner = inner
        self._beat = beat

    @property
    def identity(self) -> Identity:
        """As inside."""
        return self._inner.identity

    def __iter__(self) -> Iterator[bytes]:
        """As inside."""
        return _each(self._inner, self._beat)


def _each(pieces: Iterable[T], beat: Beat) -> Iterator[T]:
    for piece in pieces:
        beat()
        yield piece
