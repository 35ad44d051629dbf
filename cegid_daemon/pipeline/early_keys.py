"""Keys of messages that wait to be rewritten, so that a queued order is found before its turn comes.

Reads the layout's keys from the stored bytes as the rewriting does, and renders nothing. Works in short slices with
rests between them, as deliveries come first; what is large is read a slice a turn, behind all that is small. The
rewriting notes the same keys again, which changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile

from cegid_daemon.errors import ConfigurationError, JournalUnavailable, MessageError, Refused
from cegid_daemon.journal import Journal
from cegid_daemon.journal.packed_keys import PackedKeys
from cegid_daemon.journal.search import Unread
from cegid_daemon.model import LogPolicy
from cegid_daemon.rewrite import masking
from cegid_daemon.rewrite.recipe import Recipe
from cegid_daemon.rewrite.rewriting import search_keys_of

_WAITED = timedelta(seconds=1)  # most are rewritten by then, which finds the keys anyway
_EVERY = timedelta(seconds=1)
_AFTER_A_FAULT = timedelta(seconds=30)
_AT_ONCE = 200  # messages, noted in one transaction
_LARGE_BYTES = 256 << 10
_TURN_SECONDS = 0.5
_SLICE_SECONDS = 0.02
_REST = 0.5  # as long as the slice before it
_UNREADABLE = (MessageError, ConfigurationError, Refused, ValueError, LookupError)


@dataclass(slots=True)
class _Reading:
    """A message whose keys are being read."""

    message: Unread
    blocks: Iterator[list[str]]
    keys: PackedKeys = field(default_factory=PackedKeys)


class EarlyKeys:
    """Notes the keys of messages that are not rewritten yet: a task for a lane of its own."""

    name = "early keys"
    lane = "early-keys"

    def __init__(
        self, journal: Journal, recipes: Mapping[str, Recipe], policies: Mapping[str, LogPolicy],
        clock: Callable[[], datetime], stopping: Callable[[], bool], *, beat: Callable[[], None] = lambda: None,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._recipes = recipes
        self._policies = policies
        self._clock = clock
        self._stopping = stopping
        self._beat = beat
        self._rest = rest
        self._readable: dict[tuple[str, int | None], Recipe | None] = {}
        self._looked_at = 0  # the last message looked at: ids grow with the claims
        self._large: deque[Unread] = deque()
        self._reading: _Reading | None = None  # of a large one, over several turns
        self._began = 0.0  # the slice

    def run(self) -> datetime:
        """One turn; returns when the next is due."""
        now = self._clock()
        try:
            more = self.turn(now)
        except JournalUnavailable:  # whoever carries messages tells
            return now + _AFTER_A_FAULT
        return now if more else now + _EVERY

    def turn(self, now: datetime) -> bool:
        """Notes the keys of some messages; whether there is more to do at once."""
        self._began = time.monotonic()
        noted = self._note_new(now)
        if not noted and not self._stopping():
            self._note_large()
        return noted or self._reading is not None or bool(self._large)

    def _note_new(self, now: datetime) -> bool:
        """Notes the next small messages and puts the large ones aside; whether there were any."""
        newest = self._journal.search.newest_message()
        if newest == self._looked_at:
            return False
        found = self._journal.search.unread(self._looked_at, _AT_ONCE)
        ready = list(takewhile(lambda one: not timedelta(0) <= now - one.received_at < _WAITED, found))
        noted: list[tuple[int, bytes]] = []
        for message in ready:
            if self._stopping():
                break
            if message.size > _LARGE_BYTES:
                self._large.append(message)
            else:
                noted.append((message.id, self._read(message)))
        self._journal.search.note_early(noted)
        if len(ready) == len(found) < _AT_ONCE:
            self._looked_at = newest
        elif ready:
            self._looked_at = ready[-1].id
        return bool(ready)

    def _read(self, message: Unread) -> bytes:
        reading = _Reading(message, self._blocks(message))
        while self._goes_on(reading):
            self._give_way()
        return reading.keys.body()

    def _note_large(self) -> None:
        """Reads on in a large message for as long as a turn may take."""
        if self._reading is None and self._large:
            message = self._large.popleft()
            self._reading = _Reading(message, self._blocks(message))
        end = time.monotonic() + _TURN_SECONDS
        while self._reading is not None and time.monotonic() < end and not self._stopping():
            if not self._goes_on(self._reading):
                self._journal.search.note_early([(self._reading.message.id, self._reading.keys.body())])
                self._reading = None
            self._give_way()

    def _goes_on(self, reading: _Reading) -> bool:
        """Reads some keys; whether there are more. The rewriting will say what is wrong with the file."""
        try:
            found = next(reading.blocks, None)
        except _UNREADABLE:
            return False  # what was read by then counts
        if found is not None:
            reading.keys.add(found)
        return found is not None and not reading.keys.is_full

    def _give_way(self) -> None:
        took = time.monotonic() - self._began
        if took < _SLICE_SECONDS:
            return
        self._beat()
        self._rest(took * _REST)
        self._began = time.monotonic()

    def _blocks(self, message: Unread) -> Iterator[list[str]]:
        """The keys of a message, some at a time. None of one whose keys are made of masked fields."""
        recipe, payload = self._recipe(message), message.payload
        if recipe is not None and payload is not None:
            yield from search_keys_of(recipe, lambda: self._journal.payloads.read(payload))

    def _recipe(self, message: Unread) -> Recipe | None:
        """The recipe to read keys with; None if there is none, or if they must not be shown."""
        key = (message.route, message.recipe)
        if key not in self._readable:
            recipe = self._recipes.get(message.route)
            if message.recipe is not None:
                recipe = self._journal.recipes.one(message.recipe)
            redact = self._policies[message.route].redact if message.route in self._policies else ()
            is_masked = recipe is not None and bool(redact) and masking.tells(recipe, masking.Fields.of(redact))
            self._readable[key] = None if is_masked else recipe
        return self._readable[key]
