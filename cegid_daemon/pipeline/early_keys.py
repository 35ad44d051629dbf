"""Keys of messages that wait to be rewritten, so that a queued order is found before its turn comes.

Reads the layout's keys from the stored bytes as the rewriting does, and renders nothing. A turn is bounded in time;
what is not done goes on in the next one. The rewriting notes the same keys again, which changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from cegid_daemon.errors import ConfigurationError, MessageError, Refused
from cegid_daemon.journal import Journal
from cegid_daemon.journal.search import Unread
from cegid_daemon.model import LogPolicy
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.rewrite.rewriting import SearchKeys, add_search_keys

_WAITED = timedelta(seconds=1)  # most are rewritten by then, which finds the keys anyway
_TURN_SECONDS = 1.0
_AT_ONCE = 50


class EarlyKeys:
    """Notes the keys of messages that are not rewritten yet."""

    def __init__(
        self, journal: Journal, recipes: Mapping[str, Recipe], policies: Mapping[str, LogPolicy],
        stopping: Callable[[], bool], beat: Callable[[], None],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._recipes = recipes
        self._policies = policies
        self._stopping = stopping
        self._beat = beat
        self._looked_at = 0  # the last message looked at: ids grow with the claims

    def run(self, now: datetime) -> int:
        """One turn; how many messages were noted."""
        newest = self._journal.search.newest_message()
        if newest == self._looked_at:
            return 0
        end, noted = time.monotonic() + _TURN_SECONDS, 0
        found = self._journal.search.unread(self._looked_at, _AT_ONCE)
        for message in found:
            if timedelta(0) <= now - message.received_at < _WAITED or time.monotonic() > end or self._stopping():
                return noted
            self._note(message, end)
            self._looked_at = message.id
            noted += 1
        if len(found) < _AT_ONCE:
            self._looked_at = newest
        return noted

    def _note(self, message: Unread, end: float) -> None:
        keys = SearchKeys()
        try:
            recipe = self._recipe(message)
            if recipe is not None and message.payload is not None and self._may_tell(message, recipe):
                payload = message.payload
                add_search_keys(recipe, lambda: self._bytes(payload, end), keys)
        except (MessageError, ConfigurationError, Refused, ValueError, LookupError, _TimeUp):
            pass  # the rewriting will say what is wrong with it; what was read by then counts
        self._journal.search.note_early(message.id, keys.all())

    def _recipe(self, message: Unread) -> Recipe | None:
        if message.recipe is not None:
            return self._journal.recipes.one(message.recipe)
        return self._recipes.get(message.route)

    def _may_tell(self, message: Unread, recipe: Recipe) -> bool:
        """Keys that are made of a masked field are not indexed."""
        redact = self._policies[message.route].redact if message.route in self._policies else ()
        return not redact or not masking.tells(recipe, masking.Fields.of(redact))

    def _bytes(self, payload: int, end: float) -> Iterator[bytes]:
        pieces: Iterable[bytes] = self._journal.payloads.read(payload)
        for piece in pieces:
            if time.monotonic() > end:
                raise _TimeUp
            self._beat()
            yield piece


class _TimeUp(Exception):
    """A large file: the keys read so far are noted, the others by the rewriting."""
