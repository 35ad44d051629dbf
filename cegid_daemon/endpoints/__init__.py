"""Places files are taken from and put into: one small protocol, one file an adapter, one contract suite for all."""

from __future__ import annotations

from collections.abc import Callable

from cegid_daemon.endpoints.beating import Beating, BeatingApi
from cegid_daemon.endpoints.protocol import Abilities, Endpoint, Poster, Reachable, Reading
from cegid_daemon.endpoints.remote import Pace
from cegid_daemon.endpoints.wrapping import Paced, Resuming
from cegid_daemon.errors import ConfigurationError, Place
from cegid_daemon.model import EndpointSpec

__all__ = [
    "API_SCHEMES", "SCHEMES", "Abilities", "Endpoint", "Poster", "Reachable", "Reading", "open_api", "open_endpoint",
]  # fmt: skip

SCHEMES = ("file", "ftp", "ftps", "ftps+implicit", "memory", "sftp")
API_SCHEMES = ("http", "https")


def open_endpoint(spec: EndpointSpec, beat: Callable[[], None] | None = None) -> Endpoint:
    """The endpoint for the scheme of `spec.url`, not yet connected. ConfigurationError if url or options are wrong.

    A remote one goes on with broken downloads and keeps to its `pace`. `beat`: whom to tell that a transfer gets on,
    and that a wait for a turn is no standstill. Adapters are imported when one is needed: a daemon that carries between
    folders loads no SSH.
    """
    endpoint = _adapter(spec, beat)
    if endpoint.abilities.remote:
        endpoint = Resuming(endpoint)
        if spec.options.get("pace"):
            endpoint = Paced(endpoint, Pace.of(spec.options["pace"]), beat=beat)
    return endpoint if beat is None else Beating(endpoint, beat)


def _adapter(spec: EndpointSpec, beat: Callable[[], None] | None) -> Endpoint:
    match spec.scheme:
        case "file":
            from cegid_daemon.endpoints.folder import FolderEndpoint

            return FolderEndpoint.of(spec)
        case "memory":
            from cegid_daemon.endpoints.memory import MemoryEndpoint

            return MemoryEndpoint(spec.url.removeprefix("memory:"))
        case "ftp" | "ftps" | "ftps+implicit":
            from cegid_daemon.endpoints.ftp import FtpEndpoint

            return FtpEndpoint.of(spec, beat)
        case "sftp":
            from cegid_daemon.endpoints.sftp import SftpEndpoint

            return SftpEndpoint.of(spec, beat)
    raise ConfigurationError(
        f"no endpoint speaks {spec.scheme!r}",
        where=Place(field=f"endpoint.{spec.name}.url"),
        remedy=f"Use one of: {', '.join(SCHEMES)}.",
    )


def open_api(spec: EndpointSpec, beat: Callable[[], None] | None = None) -> Poster:
    """The API behind an `https:` url (`http:` on this machine). ConfigurationError if url or options are wrong."""
    from cegid_daemon.endpoints.aurora import AuroraApi

    return AuroraApi(spec) if beat is None else BeatingApi(AuroraApi(spec, beat), beat)
