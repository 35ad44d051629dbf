"""Whose request it is when it comes through a proxy of our own. Pure.

Only `trusted_proxies` are believed. Each proxy adds the address it was asked from on the right of `X-Forwarded-For`, so
what stands left of the first address that is none of ours was written by a stranger, and is never looked at.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

_MAX_HOPS = 20  # entries that are looked at, from the right
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies that are believed."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text) for text in trusted]

    def trusts(self, host: str) -> bool:
        """Whether this address is one of our proxies."""
        address = _address(host)
        return address is not None and self._ours(address)

    def visitor(self, peer: str, forwarded: Sequence[str]) -> str:
        """The visitor's address: that of the peer, or the one our proxy says (the lines of the header, in order)."""
        if not self.trusts(peer):
            return peer
        entries = ",".join(forwarded).split(",") if forwarded else []
        last = peer
        for entry in entries[: -_MAX_HOPS - 1 : -1]:
            address = _address(_without_port(entry.strip().strip('"')))
            if address is None:
                return last  # "unknown", or nothing that can be read: nobody further is known
            last = str(address)
            if not self._ours(address):
                return last
        return last

    def _ours(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
