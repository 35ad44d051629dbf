"""Our own drop sites beside the sources that watch the same folders: what comes in whole is taken at once.

Owns the way from a finished upload to the source that takes it: it is vouched for, and its source is woken. Whether a
file is whole is the site's knowledge, what becomes of it the source's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cegid_daemon.model import Identity, SiteSpec
from cegid_daemon.scanner import Source
from cegid_daemon.sites.hosting import Hosted
from cegid_daemon.sites.upload import Uploads


class Landing:
    """Where the sites' files land. Called from the sites' threads."""

    def __init__(self, sources: Iterable[object], wake: Callable[[str], None]) -> None:
        """`sources` are looked through for those on folders of this machine; `wake` makes one due by its name."""
        self._sources = [(one, _folder(one)) for one in sources if isinstance(one, Source) and _folder(one)]
        self._wake = wake

    def __call__(self, folder: str, name: str, identity: Identity) -> None:
        """A whole file lies in `folder`."""
        here = os.path.realpath(folder)
        for source, place in self._sources:
            if os.path.realpath(place) == here:
                source.vouch(name, identity)
                self._wake(source.name)


def _folder(source: Source) -> str:
    """The source's folder on this machine; blank if it lies elsewhere."""
    scheme, _, root = source.endpoint.where.partition(":")
    return f"{root}/{source.spec.folder}" if scheme == "file" else ""


def drop_sites(specs: Sequence[SiteSpec], landing: Landing, clock: Callable[[], datetime]) -> list[Hosted]:
    """The sites of a configuration, not yet started. Each server library is loaded only where a site needs it."""
    uploads = Uploads()
    return [_site(spec, uploads, landing, clock) for spec in specs]


def _site(spec: SiteSpec, uploads: Uploads, landing: Landing, clock: Callable[[], datetime]) -> Hosted:
    if spec.kind == "sftp":
        from cegid_daemon.sites.sftp_site import SftpSite

        return SftpSite(spec, uploads, landing, clock=clock)
    from cegid_daemon.sites.ftp_site import FtpSite

    return FtpSite(spec, uploads, landing, clock=clock)
