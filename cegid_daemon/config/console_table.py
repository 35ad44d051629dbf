"""The `[console]` table: its keys, and what they mean together.

Owns that nobody beyond this machine is let in without a password, and what is said of a console that is open to a
network in the clear.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from cegid_daemon.config.certificates import troubles_of_certificate
from cegid_daemon.config.faults import Trouble, refuse
from cegid_daemon.config.tables import Table, key
from cegid_daemon.config.values import File, Kind, Listen, SecretText, Texts, texts


def _proxies(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            refuse(f"{text!r} is no address and no network", why=str(error),
                   remedy='Write the address of the proxy, or a network such as "10.1.0.0/24".')  # fmt: skip
        if network.prefixlen == 0:
            refuse(f"{text!r} trusts everybody", why="whoever sends the header could choose the address he counts for",
                   remedy="Write the addresses of your own proxies only.")  # fmt: skip
    return value


class ConsoleTable(Table):
    """The console in the browser."""

    listen: Listen = key(
        "", "address and port, such as `127.0.0.1:8470`; beyond this machine only with a password", shown="off"
    )
    password: SecretText | None = key(None, "the operators' password", shown="none: who is on this machine may edit")
    viewer_password: SecretText | None = key(None, "the password of those who only read", shown="none")
    hosts: Texts = key((), "names under which browsers reach it, beside its address and `localhost`", shown="none")
    https: bool = key(False, "browsers reach it through a proxy that speaks HTTPS: cookies are for HTTPS only")
    certificate: Annotated[File | None, Kind("file")] = key(
        None, "PEM file with the certificate's chain and key: the console speaks HTTPS itself (TLS 1.2 or later); a "
        "reload takes a renewed one", shown="none",
    )  # fmt: skip
    trusted_proxies: Annotated[
        tuple[str, ...], BeforeValidator(texts), AfterValidator(_proxies),
        Kind("address or network, or list of them"),
    ] = key(
        (), "our own proxies: of what they send, the right-most address in `X-Forwarded-For` that is none of them is "
        "the visitor's; nobody else is believed", shown="none",
    )  # fmt: skip
    probes: Listen = key(
        "", "address and port of a listener of its own for `/health/live`, `/health/ready` and `/metrics`, such as "
        "`127.0.0.1:8471`: it answers whatever goes on at the console", shown="off: only the console answers them",
    )  # fmt: skip
    key: Annotated[File | None, Kind("file")] = key(None, "PEM file with the key", shown="in `certificate`")


def troubles_of_console(console: ConsoleTable) -> Iterator[Trouble]:
    """What its keys mean together."""
    for name in ("listen", "probes"):
        host = _host(getattr(console, name))
        if not _is_local(host) and console.password is None:
            why = f"others than this machine reach {host}"
            remedy = 'Set password = { credential = "console-password" }, or listen on 127.0.0.1.'
            yield Trouble(("console", name), "the console needs a password", why, remedy)
    yield from _passwords(console)
    if console.probes and not console.listen:
        yield Trouble(("console", "probes"), "probes does nothing", "the console is off", "Set listen as well.")
    elif console.probes and console.probes == console.listen:
        why = "the console listens there"
        yield Trouble(("console", "probes"), "probes needs a port of its own", why, "Take another, such as 8471.")
    if console.key and not console.certificate:
        remedy = "Set `certificate` too."
        yield Trouble(("console", "key"), "there is no certificate it belongs to", remedy=remedy)
    if console.certificate:
        yield from troubles_of_certificate(("console", "certificate"), console.certificate, console.key)
    if console.certificate and console.https:
        why = "`https` says that a proxy speaks HTTPS, `certificate` that the console does"
        yield Trouble(("console", "https"), "https does nothing beside a certificate", why, "Remove one of the two.")


def _passwords(console: ConsoleTable) -> Iterator[Trouble]:
    if console.viewer_password is not None and console.password is None:
        why = "without it everybody may edit"
        yield Trouble(("console", "viewer_password"), "viewer_password does nothing", why, "Set password as well.")
    if console.viewer_password is not None and console.viewer_password == console.password:
        remedy = "Give the two roles different passwords."
        yield Trouble(("console", "viewer_password"), "viewer_password does nothing", "it is the password", remedy)


def warnings_of_console(console: ConsoleTable) -> Iterator[str]:
    """What works, but lets others listen in, or lets one visitor get in the way of all."""
    if not _is_local(_host(console.listen)) and not (console.certificate or console.https):
        yield (
            f"the console on {console.listen} speaks HTTP without TLS: passwords and sessions can be read on the way. "
            "Set console.certificate, or put a proxy that speaks HTTPS before it and set console.https"
        )
    if console.listen and console.https and not console.trusted_proxies:
        yield (
            "console.https says that visitors come through a proxy, and console.trusted_proxies does not name it: all "
            "of them count as one address, for connections and for failed logins"
        )
    if console.listen and console.trusted_proxies and console.password is None:
        yield (
            "console.trusted_proxies lets others in through a proxy, and there is no console.password: whoever passes "
            "the proxy may edit"
        )


def _host(listen: str) -> str:
    return listen.rpartition(":")[0].strip("[]")


def _is_local(host: str) -> bool:
    return host in ("", "localhost") or ipaddress.ip_address(host).is_loopback
