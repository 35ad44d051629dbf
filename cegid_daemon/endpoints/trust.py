"""Who the other side must prove to be: TLS certificates, and SSH host keys by a known_hosts file.

Owns both decisions. An unknown or changed host key is refused, and there is no switch that trusts all: the error gives
the fingerprint to compare and the line to add.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import ssl
from dataclasses import dataclass
from pathlib import Path

from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import ConfigurationError, Place, Untrusted

DEFAULT_KNOWN_HOSTS = "~/.ssh/known_hosts"


def tls_context(server: Server) -> ssl.SSLContext:
    """Certificates and names are verified, by the system's authorities or by `ca` alone. TLS 1.2 or later."""
    try:
        context = ssl.create_default_context(cafile=server.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificate authority {server.ca!r} cannot be read",
            where=Place(field=f"endpoint.{server.name}.ca"),
            why=str(error),
            remedy="Give a PEM file with the authority's certificate.",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the system's settings say
    return context


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key as known_hosts writes it."""

    kind: str  # ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256 …
    body: str  # base64

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen -l prints it."""
        try:
            digest = hashlib.sha256(base64.b64decode(self.body)).digest()
        except ValueError:
            return "(no key)"
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """What a known_hosts file says of one host."""

    host: str  # `name`, or `[name]:port` where the port is not 22
    path: str
    keys: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...] = ()

    @classmethod
    def read(cls, server: Server) -> KnownHosts:
        """From the endpoint's file; one that is not there knows nobody."""
        path = Path(server.known_hosts or DEFAULT_KNOWN_HOSTS).expanduser()
        host = server.host if server.port == 22 else f"[{server.host}]:{server.port}"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            raise ConfigurationError(
                f"the file {str(path)!r} cannot be read",
                where=Place(field=f"endpoint.{server.name}.known_hosts"),
                why=error.strerror or str(error),
                remedy="Let the daemon's user read it.",
            ) from error
        return cls.parse(text, host, str(path))

    @classmethod
    def parse(cls, text: str, host: str, path: str) -> KnownHosts:
        """The lines of `text` that speak of `host`. Marked certificate authorities are not used."""
        keys: list[HostKey] = []
        revoked: list[HostKey] = []
        for line in text.splitlines():
            fields = line.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            if len(fields) < 3 or fields[0].startswith("#") or not _speaks_of(fields[0], host):
                continue
            if marker in {"", "@revoked"}:
                (revoked if marker else keys).append(HostKey(fields[1], fields[2]))
        return cls(host, path, tuple(keys), tuple(revoked))

    def check(self, offered: HostKey, where: str) -> None:
        """Untrusted, with what to compare and what to write, unless `offered` is known."""
        if offered in self.revoked:
            raise self._refusal(offered, where, "the server's host key was revoked", "Ask the server's operator why.")
        if offered in self.keys:
            return
        line = f"{self.host} {offered.kind} {offered.body}"
        if self.keys:
            known = ", ".join(f"{key.kind} {key.fingerprint}" for key in self.keys)
            raise self._refusal(
                offered,
                where,
                "the server's host key has changed: this may be another machine",
                f"Known is {known}. Ask the server's operator; if the change is right, replace the line in "
                f"{self.path} by: {line}",
            )
        raise self._refusal(
            offered,
            where,
            "the server's host key is not known",
            f"Compare the fingerprint with the server's operator, then add to {self.path} the line: {line}",
        )

    def _refusal(self, offered: HostKey, where: str, what: str, remedy: str) -> Untrusted:
        return Untrusted(what, where=Place(file=where), why=f"{offered.kind} {offered.fingerprint}", remedy=remedy)


def _speaks_of(patterns: str, host: str) -> bool:
    if patterns.startswith("|1|"):
        return _hashed(patterns, host)
    names = patterns.split(",")
    if any(name.startswith("!") and fnmatch.fnmatchcase(host, _glob(name[1:])) for name in names):
        return False
    return any(fnmatch.fnmatchcase(host, _glob(name)) for name in names)


def _glob(name: str) -> str:
    """known_hosts knows `*` and `?`; a bracket stands for itself."""
    return name.lower().replace("[", "[[]")


def _hashed(pattern: str, host: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in pattern.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, host.encode(), hashlib.sha1).digest(), digest)
