"""Where the console listens, and under which names it may be reached. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of `console.listen`."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Address:
        """`127.0.0.1:8470`, `[::1]:8470`, `localhost:8470`, as the configuration has checked it."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port))

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """What to open in a browser, without TLS."""
        return self.url_of(tls=False)

    def url_of(self, *, tls: bool) -> str:
        """What to open in a browser."""
        return f"http{'s' if tls else ''}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    def hosts(self, more: Collection[str]) -> set[str]:
        """The names a request may be for."""
        return {"localhost", self.host, *more}
