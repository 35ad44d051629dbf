"""Where a remote endpoint is and how it is spoken to: its url and options, as configured, checked and frozen.

Owns what FTP, FTPS and SFTP have in common before the first byte is sent. Knows no protocol and opens no connection.
Secrets stay in their masking objects until the one call that needs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from cegid_daemon.addresses import address_of
from cegid_daemon.endpoints.bounds import Beat, no_beat
from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.model import EndpointSpec

_PACE = re.compile(r"([1-9]\d*)/(s|min|h)")
_SPANS = {"s": timedelta(seconds=1), "min": timedelta(minutes=1), "h": timedelta(hours=1)}


class Secret(Protocol):
    """A password or passphrase; its repr is masked."""

    def reveal(self) -> str:
        """The text itself."""


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `files` in any `span`."""

    files: int
    span: timedelta

    @classmethod
    def of(cls, text: str) -> Pace:
        """From `20/min`; ValueError if it is something else."""
        found = _PACE.fullmatch(text)
        if found is None:
            raise ValueError(f"not a pace such as 20/min: {text!r}")
        return cls(int(found[1]), _SPANS[found[2]])


@dataclass(frozen=True, slots=True)
class Server:
    """A remote endpoint as configured. `path` is the url's path, percent-decoded, with its first slash."""

    name: str
    scheme: str
    host: str
    port: int
    user: str
    path: str
    password: Secret | None = field(default=None, repr=False)
    private_key: str = ""
    passphrase: Secret | None = field(default=None, repr=False)
    known_hosts: str = ""
    ca: str = ""
    passive: bool = True
    encoding: str = "utf-8"
    timeout: timedelta = timedelta(seconds=30)
    channels: int = 4
    pace: Pace | None = None
    reconnect: timedelta = timedelta(0)
    beat: Beat = field(default=no_beat, repr=False, compare=False)  # is told while an answer comes

    @classmethod
    def of(cls, spec: EndpointSpec, beat: Beat | None = None) -> Server:
        """From a configured endpoint. ConfigurationError names the key that is wrong."""
        try:
            at = address_of(spec.url)
        except ValueError as error:
            raise _fault(spec, "url", str(error)) from error
        return cls(spec.name, at.scheme, at.host, at.port, at.user, at.path, **_options(spec), beat=beat or no_beat)

    @property
    def where(self) -> str:
        """The place without secrets, always with its port: one text for one place."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}:{self.port}{self.path.rstrip('/')}"

    @property
    def seconds(self) -> float:
        """The deadline of one answer, in seconds."""
        return self.timeout.total_seconds()


def _options(spec: EndpointSpec) -> dict[str, Any]:
    given = {key: value for key, value in spec.options.items() if value is not None and value != ""}
    _check_encoding(spec, given)
    if "pace" in given:
        try:
            given["pace"] = Pace.of(given["pace"])
        except ValueError as error:
            raise _fault(spec, "pace", str(error)) from error
    unknown = set(given) - _OPTIONS
    if unknown:
        raise _fault(spec, sorted(unknown)[0], "this endpoint knows no such option")
    return given


def _check_encoding(spec: EndpointSpec, given: Mapping[str, Any]) -> None:
    try:
        "a".encode(given.get("encoding", "utf-8"))
    except LookupError as error:
        raise _fault(spec, "encoding", str(error)) from error


def _fault(spec: EndpointSpec, key: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the endpoint {spec.name!r} cannot be used",
        where=Place(field=f"endpoint.{spec.name}.{key}"),
        why=why,
        remedy="Correct it in the configuration.",
    )


_OPTIONS = frozenset(Server.__dataclass_fields__) - {"name", "scheme", "host", "port", "user", "path", "beat"}
