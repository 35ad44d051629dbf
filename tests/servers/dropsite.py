"""Our own drop sites, started for a test: users with a password each, and what landed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cegid_daemon import passwords
from cegid_daemon.model import Identity, SiteSpec, SiteUser
from cegid_daemon.sites.ftp_site import FtpSite
from cegid_daemon.sites.sftp_site import SftpSite
from cegid_daemon.sites.upload import Uploads
from tests.servers.places import HOST, Hidden, make_certificates, make_key

PASSWORD = "geheim: ünd länger"
HASH = Hidden(passwords.hashed(PASSWORD, salt=b"0123456789abcdef"))


@dataclass
class Running:
    """A site that runs, the folder its user sees, and what came in whole."""

    port: int
    root: Path
    keys: Path
    landed: list[tuple[str, str, Identity]] = field(default_factory=list)

    def names(self) -> list[str]:
        return sorted(name for _, name, _ in self.landed)


def users(root: Path, **changes: Any) -> tuple[SiteUser, ...]:
    return (SiteUser("cegid", str(root), **{"password": HASH, **changes}),)


@contextmanager
def dropsite(kind: str, folder: Path, *, uploads: Uploads | None = None, **options: Any) -> Iterator[Running]:
    """`kind`: ftp, ftps or sftp. `user` in options changes the user."""
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    running = Running(0, root, folder)
    user = options.pop("user", {})
    spec = SiteSpec(
        "sftp" if kind == "sftp" else "ftp", HOST, 0, users(root, **user), **_secured(kind, folder), **options
    )
    landed = lambda *what: running.landed.append(what)  # noqa: E731
    make = SftpSite if kind == "sftp" else FtpSite
    site = make(spec, uploads or Uploads(), landed, clock=lambda: datetime.now(UTC))
    site.start()
    assert site.port, "the site does not listen"
    running.port = site.port
    try:
        yield running
    finally:
        site.stop()


def _secured(kind: str, folder: Path) -> dict[str, str]:
    if kind == "ftps":
        return {"certificate": str(make_certificates(folder / "tls").both)}
    if kind == "sftp":
        path = folder / "host_key"
        return {"host_key": str(path if path.exists() else make_key(path))}
    return {}
