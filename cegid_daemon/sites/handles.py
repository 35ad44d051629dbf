"""How many files and listings SFTP clients may have open: of one session, of one user and of the site.

Each open file costs file descriptors, which the pipeline needs too. Used by the site's thread only.
"""

from __future__ import annotations

import errno
from typing import Protocol

MAX_OF_SESSION = 16


class OpenSession(Protocol):
    """An SFTP session and what it has open."""

    user: str

    @property
    def handles(self) -> int:
        """Files and listings."""


class HandleBounds:
    """The bounds of one site."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._of_user = max(1, limit // 2) if limit > MAX_OF_SESSION else limit
        self._sessions: set[OpenSession] = set()

    def add(self, session: OpenSession) -> None:
        """A session has begun."""
        self._sessions.add(session)

    def remove(self, session: OpenSession) -> None:
        """A session has ended."""
        self._sessions.discard(session)

    def check(self, session: OpenSession) -> None:
        """Raises OSError if the session may open no more."""
        of_user = sum(one.handles for one in self._sessions if one.user == session.user)
        of_all = sum(one.handles for one in self._sessions)
        if session.handles >= MAX_OF_SESSION or of_user >= self._of_user or of_all >= self._limit:
            raise OSError(errno.EMFILE, "too many open files and folders; close some first")
