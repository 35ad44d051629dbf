"""Our own drop sites in the configuration: values, rules over several keys, and the frozen objects made of them.

Owns that nothing is offered to a network without encryption or without a hash, and that no user of a site can reach the
configuration, the templates or the journal.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from cegid_daemon import passwords
from cegid_daemon.config.certificates import troubles_of_certificate
from cegid_daemon.config.faults import Trouble, refuse
from cegid_daemon.config.lines import KeyPath
from cegid_daemon.config.secrets import Secret
from cegid_daemon.config.values import Kind, SecretText
from cegid_daemon.model import SiteSpec, SiteUser

if TYPE_CHECKING:
    from cegid_daemon.config.schema import Root
    from cegid_daemon.config.site_tables import FtpSiteTable, SftpSiteTable, SiteUserTable

_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(\d{1,5})")
_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")
_OF_ONE_ADDRESS = 20  # connections; the others are left to other addresses


def listening(value: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:2121` or `[::1]:2121`; port 0 is any free one."""
    found = _LISTEN.fullmatch(value)
    host = found[1].strip("[]") if found else ""
    if found is None or int(found[2]) > 65535 or not (host == "localhost" or _is_address(host)):
        refuse("is no address to listen on", remedy='Write an address and a port, such as "127.0.0.1:2121".')
    return host, int(found[2])


def _listen(value: str) -> str:
    listening(value)
    return value


def port_range(value: str) -> tuple[int, int]:
    """First and last of `50000-50099`."""
    found = _PORTS.fullmatch(value)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1024 <= first <= last <= 65535:
        refuse("is no range of ports", remedy='Write the first and the last, 1024 or more, such as "50000-50099".')
    return first, last


def _ports(value: str) -> str:
    if value:
        port_range(value)
    return value


def _hash(value: Secret | None) -> Secret | None:
    if value is not None and not passwords.is_hash(value.reveal()):
        refuse(
            "a password of the site is kept as a hash, and this is none",
            remedy="Make it with `cegid-daemon hash-password` and put what it prints there.",
        )
    return value


def _address(value: str) -> str:
    if value and not _is_address(value):
        refuse("is no address", remedy='Write an IP address, such as "203.0.113.7".')
    return value


SiteListen = Annotated[str, AfterValidator(_listen), Kind("address and port")]
Ports = Annotated[str, AfterValidator(_ports), Kind("such as `50000-50099`")]
HashText = Annotated[SecretText, AfterValidator(_hash), Kind("secret, a hash")]
Address = Annotated[str, AfterValidator(_address), Kind("address")]


def troubles_of_sites(root: Root, here: Path) -> Iterator[Trouble]:
    """What keys of the sites mean together."""
    for kind, table in _tables(root):
        path: KeyPath = ("site", kind)
        if not table.users:
            yield Trouble((*path, "users"), "the site has no user", remedy=f"Add [site.{kind}.users.NAME].")
        for name, user in table.users.items():
            yield from _user((*path, "users", name), kind, user, root, here)
    if root.site.ftp is not None:
        yield from _ftp(("site", "ftp"), root.site.ftp)
    if root.site.sftp is not None:
        yield from _host_key(("site", "sftp", "host_key"), root.site.sftp.host_key)
    if _both_at_one_port(root):
        yield Trouble(("site", "sftp", "listen"), "both sites would listen here", remedy="Give each its own port.")


def warnings_of_sites(root: Root) -> Iterator[str]:
    """What works, but leaves more open than it must, or less."""
    ftp = root.site.ftp
    if ftp is None:
        return
    if ftp.certificate and not ftp.tls_session_reuse and not _is_loopback(listening(ftp.listen)[0]):
        yield (
            "site.ftp: data connections need not go on with the TLS session of their control connection: another client"
            " of the same address could take one over; set tls_session_reuse = true if all your clients can do that"
        )
    if ftp.passive_ports:
        first, last = port_range(ftp.passive_ports)
        ports, clients = last - first + 1, _of_one_address(ftp)
        if ports < clients:
            yield (
                f"site.ftp: passive_ports has {ports} ports for {clients} connections: where none is free, clients are"
                " told to try again"
            )


def _both_at_one_port(root: Root) -> bool:
    ftp, sftp = root.site.ftp, root.site.sftp
    return ftp is not None and sftp is not None and ftp.listen == sftp.listen and listening(ftp.listen)[1] != 0


def _tables(root: Root) -> list[tuple[str, FtpSiteTable | SftpSiteTable]]:
    found = (("ftp", root.site.ftp), ("sftp", root.site.sftp))
    return [(kind, table) for kind, table in found if table is not None]


def _ftp(path: KeyPath, table: FtpSiteTable) -> Iterator[Trouble]:
    host, _ = listening(table.listen)
    if not table.certificate and not _is_loopback(host):
        yield Trouble(
            (*path, "certificate"), "a site beyond this machine needs a certificate",
            why="without TLS, passwords and files would travel in the clear",
            remedy="Name a PEM file in `certificate`, or listen on 127.0.0.1.",
        )  # fmt: skip
    if table.key and not table.certificate:
        yield Trouble((*path, "key"), "there is no certificate it belongs to", remedy="Set `certificate` too.")
    if table.tls_session_reuse and not table.certificate:
        yield Trouble(
            (*path, "tls_session_reuse"), "there is no TLS without a certificate", remedy="Set `certificate` too."
        )
    if table.certificate:
        yield from troubles_of_certificate((*path, "certificate"), table.certificate, table.key)


def _host_key(path: KeyPath, file: str) -> Iterator[Trouble]:
    import asyncssh  # only where a site is configured

    try:
        asyncssh.read_private_key(file)
    except (OSError, ValueError) as error:  # its KeyImportError is a ValueError
        yield Trouble(
            path, "the host key cannot be used", why=str(error),
            remedy="Make one without passphrase: ssh-keygen -t ed25519 -N '' -f FILE.",
        )  # fmt: skip


def _user(path: KeyPath, kind: str, user: SiteUserTable, root: Root, here: Path) -> Iterator[Trouble]:
    if kind == "ftp" and user.keys:
        yield Trouble((*path, "keys"), "keys are for SFTP", remedy="Remove them, and set `password`.")
    if user.password is None and (kind == "ftp" or not user.keys):
        way = "`password`" if kind == "ftp" else "`password` or `keys`"
        yield Trouble(path, "nobody could log in as this user", remedy=f"Set {way}.")
    for number, line in enumerate(user.keys):
        yield from _key((*path, "keys", number), line)
    reached = _reached(_absolute(here, user.folder), root, here)
    if reached:
        yield Trouble(
            (*path, "folder"), f"who logs in could reach {' and '.join(reached)}",
            remedy="Name a folder of its own, such as the inbox.",
        )  # fmt: skip


def _reached(folder: Path, root: Root, here: Path) -> list[str]:
    """What of ours lies in a folder, or around it."""
    ours = {"the journal": _absolute(here, root.state), "the templates": _absolute(here, root.templates)}
    found = [what for what, path in ours.items() if path.is_relative_to(folder) or folder.is_relative_to(path)]
    return ["the configuration", *found] if here.is_relative_to(folder) else found


def _key(path: KeyPath, line: str) -> Iterator[Trouble]:
    import asyncssh  # only where a site is configured

    try:
        asyncssh.import_authorized_keys(line)
    except ValueError as error:
        yield Trouble(path, "is no public key", why=str(error), remedy="Write a line as authorized_keys has it.")


def sites_of(root: Root, here: Path) -> tuple[SiteSpec, ...]:
    """The sites that are switched on; the tables must have passed every rule."""
    return tuple(_site(kind, table, here) for kind, table in _tables(root))


def _site(kind: str, table: FtpSiteTable | SftpSiteTable, here: Path) -> SiteSpec:
    host, port = listening(table.listen)
    common = ("max_size", "connections", "login", "attempts", "lockout", "idle")
    own: dict[str, Any] = {name: getattr(table, name) for name in common}
    own["connections_per_address"] = table.connections_per_address or _of_one_address(table)
    for name in ("certificate", "key", "host_key", "public_address"):
        own[name] = getattr(table, name, None) or ""
    for name in ("grace", "tls_session_reuse"):
        if (value := getattr(table, name, None)) is not None:
            own[name] = value
    ports = getattr(table, "passive_ports", "")
    users = tuple(_site_user(name, user, here) for name, user in table.users.items())
    return SiteSpec(kind, host, port, users, passive_ports=port_range(ports) if ports else None, **own)


def _of_one_address(table: FtpSiteTable | SftpSiteTable) -> int:
    """Clients of one address that are expected: who sets `connections` may have all of them behind one router."""
    return table.connections if "connections" in table.model_fields_set else _OF_ONE_ADDRESS


def _site_user(name: str, table: SiteUserTable, here: Path) -> SiteUser:
    return SiteUser(name, str(_absolute(here, table.folder)), table.password, table.keys)


def _absolute(here: Path, name: str) -> Path:
    return Path(os.path.normpath(here / name))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
