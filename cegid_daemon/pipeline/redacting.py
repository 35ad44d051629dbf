"""Masking after the fact: copies of messages that are over, made anew without what `redact` names.

Works beside the deliveries, one message a turn, and can be cut short anywhere: what is owed stands in the journal. A
copy that cannot be masked with certainty is dropped, and the system log and the message's attempts say so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from cegid_daemon.errors import BadInput, ConfigurationError, MessageError, Refused
from cegid_daemon.journal import Journal
from cegid_daemon.journal.masking import Copy
from cegid_daemon.journal.payloads import Staged
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.recipe import Recipe

log = logging.getLogger(__name__)


class _CutShort(Exception):
    """The daemon stops: the masking is begun again at the next start."""


class Redacting:
    """Masks what is owed."""

    def __init__(self, journal: Journal, stopping: Callable[[], bool], beat: Callable[[], None]) -> None:
        self._journal = journal
        self._stopping = stopping
        self._beat = beat

    def run(self, now: datetime) -> bool:
        """Masks the copies of the next message that owes it; False if there is none, or the daemon stops.

        Raises JournalError if the journal cannot be read or written now; nothing is changed then.
        """
        owed = self._journal.masking.owed()
        if owed is None or self._stopping():
            return False
        recipe = self._journal.recipes.one(owed.recipe) if owed.recipe is not None else None
        try:
            for message in owed.messages:
                _Message(self._journal, message, recipe, owed.fields, self._watched).mask(now)
        except _CutShort:
            return False
        return True

    def _watched(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._stopping():
                raise _CutShort
            self._beat()
            yield chunk


class _Message:
    """The copies of one message."""

    def __init__(
        self, journal: Journal, message: int, recipe: Recipe | None, redact: tuple[str, ...],
        watched: Callable[[Iterable[bytes]], Iterator[bytes]],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._message = message
        self._recipe = recipe
        self._redact = redact
        self._fields = masking.Fields.of(redact)
        self._watched = watched
        self._values = masking.Values()
        self._known = False  # whether the values of the received file are: without them no part can be masked

    def mask(self, now: datetime) -> None:
        """Masks and swaps them."""
        swaps: list[tuple[Copy, Staged | None]] = []
        try:
            for copy in self._journal.masking.copies(self._message):
                swaps.append((copy, self._masked(copy)))  # discarded below if a later one fails
        except BaseException:
            for _, staged in swaps:
                if staged is not None:
                    self._journal.payloads.discard(staged)
            raise
        dropped = sum(staged is None for _, staged in swaps)
        note = f"{len(swaps) - dropped} stored copies masked" + (f", {dropped} dropped" if dropped else "")
        self._journal.masking.swap(self._message, swaps, note, now)

    def _masked(self, copy: Copy) -> Staged | None:
        try:
            staged = self._journal.payloads.stage_bytes(self._bytes(copy), redacted=True)
        except (MessageError, ConfigurationError, Refused, ValueError, LookupError) as error:
            if isinstance(error, MessageError) and self._recipe is not None:
                error = masking.tellable(error, self._recipe, self._redact)
            log.warning(
                "The stored copy of message %d (%s) cannot be masked with certainty and is dropped: %s", self._message,
                "as received" if copy.holder == "message" else "as delivered", error,
                extra={"message_id": self._message},
            )  # fmt: skip
            return None
        self._known = True
        return staged

    def _bytes(self, copy: Copy) -> Iterator[bytes]:
        recipe = self._recipe
        if recipe is None:
            raise BadInput("it was never rewritten, so nobody knows its layout")

        def source() -> Iterator[bytes]:
            return self._watched(self._journal.payloads.read(copy.payload))

        if copy.holder == "message":
            return masking.received(recipe.layout, self._fields, source, self._values)
        if not self._known:
            raise BadInput("the values to look for are not known without the received file")
        return masking.made(recipe, self._fields, self._values, source)
