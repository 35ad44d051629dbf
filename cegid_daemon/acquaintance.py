"""Whether a server is still the one we know: what it says of itself now beside its card in the journal.

Asks each server once at the start and once a day, over the connection its routes use. A difference is told and kept;
a server that does not answer is its routes' affair.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cegid_daemon.endpoints.protocol import Telling
from cegid_daemon.errors import EndpointError
from cegid_daemon.journal import Journal

log = logging.getLogger(__name__)

_EVERY = timedelta(days=1)
_AGAIN = timedelta(minutes=30)


@dataclass(frozen=True)
class Acquaintance:
    """A task in the lane of one endpoint."""

    lane: str  # the endpoint's name
    endpoint: Telling
    journal: Journal
    clock: Callable[[], datetime]

    @property
    def name(self) -> str:
        """By the endpoint."""
        return f"acquaintance with {self.lane}"

    def run(self) -> datetime:
        """Asks once; returns when to ask again."""
        now = self.clock()
        try:
            facts = self.endpoint.facts()
        except EndpointError as error:
            log.debug("%s could not be asked what it can do: %s", self.lane, error)
            return now + _AGAIN
        kept = self.journal.cards.card(self.endpoint.where)
        if kept is not None:
            for change in changes(kept.facts, facts):
                log.warning(
                    "The server of endpoint %s has changed: %s. See `cegid-daemon check --live`.", self.lane, change
                )
        self.journal.cards.keep(self.endpoint.where, facts, None, now)
        return now + _EVERY


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two cards, a sentence a difference."""
    names = dict.fromkeys((*before, *now))
    return [
        f"{name} was {before.get(name, 'not told')!r}, is {now.get(name, 'not told')!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]
