"""`demo`: the whole thing on loopback, in a folder of its own that stays to be looked into.

An FTP site and an SFTP site of our own play CEGID, a stand-in plays the Aurora API. All of it is synthetic; ports,
keys, certificates and passwords are made on the fly and end with the demonstration.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cegid_daemon.cli.opening import Invocation
from cegid_daemon.cli.output import note, say
from cegid_daemon.errors import Refused

if TYPE_CHECKING:
    from cegid_daemon.config import Config
    from cegid_daemon.sites.aurora_standin import AuroraStandIn
    from cegid_daemon.sites.hosting import Hosted

HOST = "127.0.0.1"

_CONFIGURATION = """\
# Written by `cegid-daemon demo`. The servers it names ended with the demonstration; journal and folders are left.
state = "var"

[store.main]
stock_buffer = 2                                   # units held back where nothing else is said

[endpoint.cegid-ftp]                               # plays CEGID's FTP server: folder cegid/ftp
url = "ftps://cegid@{host}:{ftp}/"
password = {{ file = "keys/password" }}
ca = "keys/authority.pem"

[endpoint.cegid-sftp]                              # plays CEGID's SFTP server: folder cegid/sftp
url = "sftp://cegid@{host}:{sftp}/"
private_key = "keys/user_key"
known_hosts = "keys/known_hosts"

[endpoint.aurora]                                  # plays the store: a stand-in of its API
url = "{api}"
token = {{ file = "keys/token" }}

[route.inventory]
title = "Inventory Import"
store = "main"
source = {{ endpoint = "cegid-ftp", folder = "stock", match = "*.csv", settle = "100ms" }}
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "aurora", method = "StockUpdate", name = "{{{{ source.stem }}}}.xml" }}

[route.products]
title = "Product Import"
store = "main"
source = {{ endpoint = "cegid-sftp", folder = "products", match = "*.xml", settle = "100ms" }}
layout = "cegid-products-xml"
template = "aurora/product-add.xml.j2"
target = {{ endpoint = "aurora", method = "ProductAdd", name = "{{{{ source.stem }}}}.xml" }}

[route.orders-ftp]
title = "Order Export"
direction = "export"
store = "main"
source = {{ endpoint = "aurora", request = "aurora/order-get.xml.j2", unique = "r.OrderID" }}
layout = "aurora-order-export"
template = "cegid/order-piece.asc.j2"
target = {{ endpoint = "cegid-ftp", folder = "orders", name = "CC_{{{{ message.id }}}}.asc" }}
output = {{ encoding = "cp1252", newline = "crlf", check = "columns" }}

[route.orders-sftp]
title = "Order Export"
direction = "export"
store = "main"
source = {{ endpoint = "aurora", request = "aurora/order-get.xml.j2", unique = "r.OrderID" }}
layout = "aurora-order-export"
template = "cegid/order-piece.asc.j2"
target = {{ endpoint = "cegid-sftp", folder = "orders", name = "CC_{{{{ message.id }}}}.asc" }}
output = {{ encoding = "utf-16-le", bom = true, newline = "crlf", check = "columns" }}
"""


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def demo(ctx: click.Context, folder: Path | None) -> None:
    """Show the whole thing on loopback.

    An FTP site and an SFTP site play CEGID, a stand-in plays the Aurora API. Stock and products are dropped and reach
    the store, orders of the store reach CEGID, and the log of it is shown. DIR, a new folder unless named, stays to be
    looked into. Takes a few seconds and touches nothing else.
    """
    with _stage(_fresh(folder)) as stage:
        _tell(stage)
        config = Invocation(stage.configuration).config()
        _drop(config)
        well = _carry(config)
        _show(stage)
    ctx.exit(0 if well else 1)


@dataclass(frozen=True)
class Stage:
    """What a demonstration stands on."""

    folder: Path
    api: AuroraStandIn

    @property
    def configuration(self) -> Path:
        """The configuration file."""
        return self.folder / "cegid-daemon.toml"


def _fresh(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="cegid-daemon-demo-"))
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{str(folder)!r} is not empty", remedy="Name a new folder: cegid-daemon demo DIR.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


@contextmanager
def _stage(folder: Path) -> Iterator[Stage]:
    """Everything running, and the configuration written that leads to it."""
    from cegid_daemon.sites.aurora_standin import AuroraStandIn

    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    token = secrets.token_urlsafe(24)
    _write_secret(keys / "token", token)
    with ExitStack() as ends:
        api = ends.enter_context(AuroraStandIn(token=token, orders=_orders()))
        ftp, sftp = _sites(folder, keys)
        for site in (ftp, sftp):
            ends.callback(site.stop)
            site.start()
        if not (ftp.port and sftp.port):
            raise Refused("the sites of the demonstration cannot listen", remedy="See the log lines above.")
        (keys / "known_hosts").write_text(f"[{HOST}]:{sftp.port} {(keys / 'host_key.pub').read_text()}\n")
        text = _CONFIGURATION.format(host=HOST, ftp=ftp.port, sftp=sftp.port, api=api.url)
        (folder / "cegid-daemon.toml").write_text(text)
        yield Stage(folder, api)


def _sites(folder: Path, keys: Path) -> tuple[Hosted, Hosted]:
    """CEGID's servers: one with a password and TLS, one with keys."""
    from cegid_daemon import passwords
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.config import Secret
    from cegid_daemon.model import SiteSpec, SiteUser
    from cegid_daemon.sites import throwaway
    from cegid_daemon.sites.ftp_site import FtpSite
    from cegid_daemon.sites.sftp_site import SftpSite
    from cegid_daemon.sites.upload import Uploads

    password = secrets.token_urlsafe(24)
    _write_secret(keys / "password", password)
    certificate = throwaway.certificate(keys, HOST, utc_now())
    (keys / "host_key.pub").write_text(throwaway.ssh_key(keys / "host_key"))
    line = throwaway.ssh_key(keys / "user_key")
    by_password = SiteUser("cegid", str(folder / "cegid/ftp"), Secret(passwords.hashed(password)))
    by_key = SiteUser("cegid", str(folder / "cegid/sftp"), keys=(line,))
    uploads = Uploads()

    def landed(*_: Any) -> None:
        """CEGID takes no notice."""

    ftp = SiteSpec("ftp", HOST, 0, (by_password,), certificate=str(certificate.server))
    sftp = SiteSpec("sftp", HOST, 0, (by_key,), host_key=str(keys / "host_key"))
    return FtpSite(ftp, uploads, landed, clock=utc_now), SftpSite(sftp, uploads, landed, clock=utc_now)


def _orders() -> list[Any]:
    """The sample's orders, as if they had just come in."""
    from lxml import etree

    from cegid_daemon import resources
    from cegid_daemon.bootstrap import utc_now
    from cegid_daemon.sites.aurora_standin import ExportedOrder

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    root = etree.fromstring((resources.samples() / "ORDERS.xml").read_bytes(), parser)
    return [ExportedOrder(utc_now(), etree.tostring(one, with_tail=False)) for one in root.iter("{*}Order")]


def _tell(stage: Stage) -> None:
    say(f"The demonstration plays in {stage.folder}; everything in it is synthetic.")
    say("Running on loopback: an FTPS site and an SFTP site that play CEGID, and a stand-in of the Aurora API.")


def _drop(config: Config) -> None:
    """CEGID drops its files, by FTPS and SFTP; the folders it collects orders from are made."""
    from cegid_daemon import resources
    from cegid_daemon.endpoints import open_endpoint

    for name, folder, sample in (("cegid-ftp", "stock", "STOCK.csv"), ("cegid-sftp", "products", "PRODUCTS.xml")):
        endpoint = open_endpoint(config.endpoints[name])
        try:
            endpoint.make_folder(folder)
            endpoint.make_folder("orders")
            endpoint.put(folder, sample, [(resources.samples() / sample).read_bytes()])
        finally:
            endpoint.close()
        say(f"Dropped {sample} into {folder}/ of {config.endpoints[name].url}")


def _carry(config: Config) -> bool:
    """One pass over every route, and another: the store's answer holds the same orders again, CEGID gets them once."""
    from cegid_daemon.bootstrap import Installation
    from cegid_daemon.cli.running import pass_over, stop_on_signals

    with stop_on_signals() as stop, Installation(config) as installation:
        for number in ("first", "second"):
            outcome = pass_over(installation, config, set(config.routes), stop)
            say(f"The {number} pass: {outcome.claimed} taken, {outcome.delivered} delivered.")
            for fault in outcome.faults:
                note(fault)
            if not outcome.well:
                return False
    return True


def _show(stage: Stage) -> None:
    say("\nThe API Integration Log, each message as it came (Unmodified) and as it went (Modified):\n")
    _command(stage, "log", "list")
    say("\nOne message with its pair:\n")
    _command(stage, "log", "show", "1")
    say("\nWhat the store holds now:")
    for method, key, stock in stage.api.applied:
        say(f"  {method} {key}" + (f": stock {stock}" if stock else ""))
    say("\nWhat lies at CEGID now:")
    for path in sorted((stage.folder / "cegid").rglob("*")):
        if path.is_file():
            say(f"  {path.relative_to(stage.folder)}  ({path.stat().st_size} bytes)")
    say(f"\nLook around in {stage.folder}, for example:")
    for words in ("status", "log list", "log show 3", "log diff 1"):
        say(f"  cegid-daemon {words} --config {stage.configuration}")


def _command(stage: Stage, *words: str) -> None:
    from cegid_daemon.cli.root import cegid_daemon

    cegid_daemon.main([*words, "--config", str(stage.configuration)], "cegid-daemon", standalone_mode=False)


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
