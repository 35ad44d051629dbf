"""Where an API is and how it is spoken to: its url and options, as configured, checked and frozen.

Opens no connection. The token stays in its masking object until the one call that needs it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from cegid_daemon.endpoints.remote import Pace, Secret
from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.model import EndpointSpec

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Api:
    """The API as configured, checked. `path` has its first slash and no last one."""

    name: str
    secure: bool
    host: str
    port: int
    path: str
    token: Secret | None = field(default=None, repr=False)
    token_in: str = "header"  # or "envelope", "both"  # noqa: S105
    ca: str = ""
    timeout: timedelta = timedelta(seconds=30)
    deadline: timedelta = timedelta(minutes=5)
    max_answer: int = 256 << 20
    pace: Pace | None = None

    @classmethod
    def of(cls, spec: EndpointSpec) -> Api:
        """From a configured endpoint. ConfigurationError names the key that is wrong."""
        parts = urlsplit(spec.url)
        secure = parts.scheme == "https"
        try:
            port = parts.port or (443 if secure else 80)
        except ValueError as error:
            raise fault_of(spec.name, "url", str(error)) from error
        if not parts.hostname:
            raise fault_of(spec.name, "url", "it names no host")
        if not secure and parts.hostname not in _LOOPBACK:
            raise fault_of(spec.name, "url", "http is for this machine only; the token would travel in the clear")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise fault_of(spec.name, "url", "it is https://HOST/VERSION and nothing else; the token goes into `token`")
        given = {key: value for key, value in spec.options.items() if value not in (None, "")}
        if "pace" in given:
            try:
                given["pace"] = Pace.of(given["pace"])
            except ValueError as error:
                raise fault_of(spec.name, "pace", str(error)) from error
        return cls(spec.name, secure, parts.hostname, port, parts.path.rstrip("/"), **given)

    @property
    def where(self) -> str:
        """The place without secrets, always with its port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"

    def tls_context(self) -> ssl.SSLContext:
        """Certificates and names are verified, by the system's authorities or by `ca` alone. TLS 1.2 or later."""
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:
            raise fault_of(self.name, "ca", f"{self.ca!r} cannot be read ({error})") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the system's settings say
        return context

    def revealed_token(self) -> str:
        """The token as a header carries it; blank if there is none."""
        token = self.token.reveal() if self.token else ""
        if not token.isascii() or not token.isprintable():
            raise fault_of(self.name, "token", "it holds characters that no header can carry")
        return token


def fault_of(name: str, key: str, why: str) -> ConfigurationError:
    """What is wrong with one key of the endpoint."""
    return ConfigurationError(
        f"the endpoint {name!r} cannot be used", where=Place(field=f"endpoint.{name}.{key}"), why=why,
        remedy="Correct it in the configuration.",
    )  # fmt: skip
