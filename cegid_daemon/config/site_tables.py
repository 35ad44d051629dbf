"""The `[site]` tables: every key, its kind, its default and what it does. Shapes only, as in `schema`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from cegid_daemon.config.sites import Address, HashText, Ports, SiteListen
from cegid_daemon.config.tables import Table, key, needed
from cegid_daemon.config.values import Duration, File, Kind, Name, Size, Texts


class SiteUserTable(Table):
    """Who may log in to the drop site; sees one folder and nothing above it."""

    folder: Annotated[str, Field(min_length=1), Kind("folder")] = needed(
        "the folder that is all this user sees; a relative path starts at the configuration's folder"
    )
    password: HashText | None = key(
        None, "the password's hash, as `cegid-daemon hash-password` prints it", shown="none: by key only"
    )
    keys: Texts = key((), "public keys, as lines of authorized_keys (sftp)", shown="none")


class SiteTable(Table):
    """What both drop sites have."""

    listen: SiteListen = needed("address and port; beyond this machine ftp needs a certificate")
    users: dict[Name, SiteUserTable] = key({}, "who may log in", shown="**needed**")
    max_size: Size = key(2 * 10**9, "a larger file is refused; 0 = no bound", shown='`"2GB"`')
    connections: Annotated[int, Field(ge=1), Kind("whole number")] = key(
        30, "clients that are logged in at the same time"
    )
    connections_per_address: Annotated[int | None, Field(ge=1), Kind("whole number")] = key(
        None, "of these, clients of one address", shown="20, or `connections` where that is set"
    )
    login: Duration = key(timedelta(seconds=20), "a client that is not logged in after so long is sent away")
    attempts: Annotated[int, Field(ge=1), Kind("whole number")] = key(
        5, "failed logins after which an address is not listened to"
    )
    lockout: Duration = key(timedelta(minutes=10), "for how long")
    idle: Duration = key(timedelta(minutes=5), "a client that does nothing for so long is sent away")


class FtpSiteTable(SiteTable):
    """A drop site of our own, spoken to by FTP; off unless this table is there. docs/site.md tells how to use it."""

    certificate: Annotated[File | None, Kind("file")] = key(
        None, "PEM file with the certificate's chain and key; then TLS is demanded", shown="none: plain, on loopback"
    )
    tls_session_reuse: bool = key(
        False,
        "with TLS: a data connection must go on with the TLS session of its control connection; older clients cannot",
    )
    passive_ports: Ports = key("", "ports of data connections, for a firewall", shown="any")
    grace: Duration = key(
        timedelta(milliseconds=500),
        "without TLS: how long the answer to an upload is withheld; a client that dies is noticed in it",
        shown='`"500ms"`',
    )
    public_address: Address = key("", "address that data connections are asked to, behind a router", shown="its own")
    key: Annotated[File | None, Kind("file")] = key(None, "PEM file with the key", shown="in `certificate`")


class SftpSiteTable(SiteTable):
    """A drop site of our own, spoken to by SFTP; off unless this table is there. docs/site.md tells how to use it."""

    host_key: Annotated[File, Kind("file")] = needed("the site's private host key, without passphrase")


class SitesTable(Table):
    """The drop sites of our own."""

    ftp: FtpSiteTable | None = key(None, "a site by FTP", shown="off")
    sftp: SftpSiteTable | None = key(None, "a site by SFTP", shown="off")
