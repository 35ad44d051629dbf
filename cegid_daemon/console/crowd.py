"""Which connection gives way when too many come: the rule of a listener's bounds. Pure: knows no socket and no loop.

A listener has a bound in all and one for each address. At a bound a newcomer is let in at the cost of the connection
that asks for least: those without a login go first, those being answered never. If all are busy, the newcomer goes.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol

_OWN_NETWORK = 64  # bits of an IPv6 address that tell one subscriber from another


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

    def since(self) -> float:
        """When it last did something."""

    def leave(self) -> None:
        """Ends it; `Crowd.forget` takes it out when it has ended."""


class Crowd:
    """The connections of a listener, within its bounds."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._guests: dict[Guest, None] = {}
        self._counts: Counter[str] = Counter()
        self._leaving: set[Guest] = set()

    def __len__(self) -> int:
        return len(self._guests)

    def make_room(self, address: str, *, bounded: bool = True) -> bool:
        """Whether one more of this address may come, ending another if need be. `bounded`: the address has a bound."""
        if bounded and self._counts[address] >= self._most_of_address:
            return self._end_one(one for one in self._staying() if one.address == address)
        if len(self._guests) - len(self._leaving) >= self._most:
            return self._end_one(self._staying())
        return True

    def end_one(self) -> bool:
        """Ends the connection that gives way first, for descriptors have run out; False if all are busy."""
        return self._end_one(self._staying())

    def add(self, guest: Guest) -> None:
        """A connection that was let in."""
        self._guests[guest] = None
        self._counts[guest.address] += 1

    def forget(self, guest: Guest) -> None:
        """A connection that has ended."""
        if guest in self._guests:
            del self._guests[guest]
            self._release(guest)

    def _staying(self) -> Iterable[Guest]:
        return (one for one in self._guests if one not in self._leaving)

    def _end_one(self, candidates: Iterable[Guest]) -> bool:
        """Ends one of the lowest stage: of the most crowded address, and there the one silent for longest."""
        chosen = min(candidates, key=self._rank, default=None)
        if chosen is None or chosen.stage() is Stage.BUSY:
            return False
        self._counts[chosen.address] -= 1
        self._leaving.add(chosen)
        chosen.leave()
        return True

    def _rank(self, guest: Guest) -> tuple[Stage, int, float]:
        return guest.stage(), -self._counts[guest.address], guest.since()

    def _release(self, guest: Guest) -> None:
        if guest in self._leaving:
            self._leaving.discard(guest)
        else:
            self._counts[guest.address] -= 1
        if self._counts[guest.address] <= 0:
            del self._counts[guest.address]


def counted_as(host: str) -> str:
    """What an address counts for: itself, or its network where a subscriber has many (IPv6)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return str(ipaddress.ip_network((address, _OWN_NETWORK), strict=False))
