"""Addresses: what the url of a server for files (FTP, FTPS, SFTP) says and may not hold; what counts as one visitor.

Opens nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

PORTS = {"ftp": 21, "ftps": 21, "ftps+implicit": 990, "sftp": 22}
"""The schemes, with the port each has by itself."""

_OWN_NETWORK = 64  # bits of an IPv6 address that tell one subscriber from another


@dataclass(frozen=True, slots=True)
class Address:
    """A server and a place on it. `path` is percent-decoded, with its first slash; blank `user`: none is named."""

    scheme: str
    host: str
    port: int
    user: str
    path: str


def parted(url: str) -> SplitResult:
    """The parts of any url; ValueError, which quotes nothing of it, where host and port cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("its host and port cannot be read") from None
    return parts


def address_of(url: str) -> Address:
    """The address a url gives; ValueError says in words why it gives none."""
    parts = parted(url)
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.password is not None:
        raise ValueError("a password does not belong into a url: put it into `password`")
    if parts.query or parts.fragment:
        raise ValueError("a path with ? or # is written with %3F or %23")
    if parts.scheme == "sftp" and not parts.username:
        raise ValueError("it names no user")
    port, user = parts.port or PORTS[parts.scheme], unquote(parts.username or "")
    return Address(parts.scheme, parts.hostname, port, user, unquote(parts.path))


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
