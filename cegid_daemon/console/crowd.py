"""Which connection gives way when too many come: the rule of a listener's bounds. Pure: knows no socket and no loop.

A listener has a bound in all and one for each address. At a bound a newcomer is let in at the cost of the connection
that asks for least: those without a login go first, those being answered never. If all are busy, the newcomer goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol


class Stage(IntEnum):
    """What a connection is doing. The lower gives way first."""

    SILENT = 0  # nobody logged in, and no whole request since its last answer
    SLOW = 1  # nobody logged in; its client is waited for: the rest of a body, or that it takes its answer
    IDLE = 2  # somebody logged in; asks for nothing
    BUSY = 3  # is being answered, or somebody logged in sends a body: never ended for another


class Guest(Protocol):
    """A connection. `address` is what it counts for."""

    address: str

    def stage(self) -> Stage:
        """What it is doing."""

    def leave(self) -> None:
        """Ends it; `Crowd.forget` takes it out when it has ended."""


class Crowd:
    """The connections of a listener, within its bounds."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._guests: dict[str, dict[Guest, None]] = {}  # by address, the one silent for longest first

    def __len__(self) -> int:
        return sum(map(len, self._guests.values()))

    def make_room(self, address: str, *, bounded: bool = True) -> bool:
        """Whether one more of this address may come, ending another if need be. `bounded`: the address has a bound."""
        if bounded and len(self._guests.get(address, ())) >= self._most_of_address:
            return self._end_one([address])
        if len(self) >= self._most:
            return self.end_one()
        return True

    def end_one(self) -> bool:
        """Ends the one that gives way first, among equals one of the most crowded address. False: all are busy."""
        return self._end_one(sorted(self._guests, key=lambda one: -len(self._guests[one])))

    def add(self, guest: Guest) -> None:
        """A connection that was let in."""
        self._guests.setdefault(guest.address, {})[guest] = None

    def answered(self, guest: Guest) -> None:
        """A connection whose request was answered: it begins to be silent."""
        if guest in self._guests.get(guest.address, ()):
            self.forget(guest)
            self.add(guest)

    def forget(self, guest: Guest) -> None:
        """A connection that has ended."""
        others = self._guests.get(guest.address, {})
        others.pop(guest, None)
        if not others:
            self._guests.pop(guest.address, None)

    def _end_one(self, addresses: Sequence[str]) -> bool:
        for stage in (Stage.SILENT, Stage.SLOW, Stage.IDLE):
            for address in addresses:
                chosen = next((one for one in self._guests[address] if one.stage() is stage), None)
                if chosen is not None:
                    self.forget(chosen)
                    chosen.leave()
                    return True
        return False
