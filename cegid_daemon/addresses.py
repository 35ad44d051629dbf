"""Addresses of servers for files (FTP, FTPS, SFTP): what a url says, and what may not stand in one. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

PORTS = {"ftp": 21, "ftps": 21, "ftps+implicit": 990, "sftp": 22}
"""The schemes, with the port each has by itself."""


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
