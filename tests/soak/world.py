"""The shop of the soak: one daemon between real vsftpd, OpenSSH, its own drop sites and the API stand-in.

Each lane is a route (or two) with a sender and a receiver of its own; all of them share the daemon, its journal and its
workers.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cegid_daemon import passwords
from cegid_daemon.sites.aurora_standin import ExportedOrder
from tests.acceptance.harness import TEMPLATE
from tests.acceptance.test_remote import BESIDE, Site, _exported, _server
from tests.servers.aurora import FaultyApi, cut_after, cut_before, cut_within, status
from tests.servers.places import HOST, free_port, make_key
from tests.servers.proxy import proxy
from tests.soak.chaos import LINE_TIMEOUT_SECONDS
from tests.soak.oracle import FolderReceiver, Lane, one_file
from tests.soak.senders import PASSWORD, AtomicSender, ClientSender, Sender, SlowSender

ROWS = """\
[route.{name}]
title = "Rows of {name}"
store = "main"
layout = "rows"
template = "rows.txt.j2"
source = {{ endpoint = "{endpoint}", folder = "{folder}", match = "*.csv", settle = "{settle}"{source} }}
target = {{ endpoint = "{target}", folder = "{out}", name = "{{{{ source.stem }}}}.txt" }}
retry = {{ first = "100ms", longest = "1s" }}

"""
CONFIGURATION = """\
[store.main]
[endpoint.inbox]
url = "file:inbox"
[endpoint.outbox]
url = "file:outbox"
[endpoint.aurora]
url = "{api}"
token = {{ env = "AURORA_TOKEN" }}
timeout = "1s"
[layout.rows]
kind = "delimited"
[site.ftp]
listen = "127.0.0.1:{ftp_port}"
users.cegid = {{ password = {{ file = "hash" }}, folder = "inbox" }}
attempts = 1000000
[site.sftp]
listen = "127.0.0.1:{sftp_port}"
host_key = "host_key"
attempts = 1000000
users.cegid = {{ password = {{ file = "hash" }}, keys = ["{client_key}"], folder = "inbox" }}

[route.stock]
title = "Inventory Import"
store = "main"
source = {{ endpoint = "inbox", folder = "stock", match = "*.csv", settle = "0s" }}
layout = "y2-stock-csv"
template = "aurora/inventory-import.xml.j2"
target = {{ endpoint = "aurora", method = "StockUpdate", name = "{{{{ source.stem }}}}.xml" }}
retry = {{ first = "100ms", longest = "1s" }}

[route.orders]
title = "Order Export"
direction = "export"
store = "main"
source = {{ endpoint = "aurora", request = "aurora/order-get.xml.j2", unique = "r.OrderID", poll = "200ms" }}
layout = "aurora-order-export"
template = "orders.txt.j2"
target = {{ endpoint = "outbox", folder = "orders", name = "CC_{{{{ message.id }}}}.txt" }}
retry = {{ first = "100ms", longest = "1s" }}

"""
STOCK_HEAD = "GA_CODEBARRE;GA_CODEARTICLE;GQ_DEPOT;GQ_PHYSIQUE;GQ_RESERVECLI;GQ_PREPACLI;GQ_CLOTURE\r\n"
REMOTE = ("ftp", "sftp")


@dataclass
class World:
    """Everything around the daemon."""

    folder: Path
    lanes: dict[str, Lane]
    senders: list[Sender]
    receivers: list[FolderReceiver]
    sites: dict[str, Site]
    api: FaultyApi
    small_disk: Path | None
    faults: ApiFaults
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def configuration(self) -> Path:
        """The daemon's configuration file."""
        return self.folder / "cegid-daemon.toml"

    def collect_api(self) -> None:
        """Tells the lane `stock` what the API has applied so far."""
        lane = self.lanes["stock"]
        for _, key, stock in self.api.applied[lane_progress(lane) :]:
            lane.arrived(int(key), whole=stock == key.lstrip("0"))


def lane_progress(lane: Lane) -> int:
    """How many arrivals a lane has seen."""
    return lane.verdict().arrived


def make_stock(number: int, _row_count: int) -> bytes:
    """A stock file of one SKU, whose stock is its number."""
    return (STOCK_HEAD + f"{number:08d};A1;010;{number};0;0;-\r\n").encode()


def read_orders(body: bytes) -> list[tuple[int, bool]]:
    """The numbers of the orders in a delivered file."""
    return [(int(line.removeprefix("order ")), True) for line in body.decode().splitlines()]


class OrderSender(Sender):
    """The store: one more order now and then."""

    def __init__(self, lane: Lane, api: FaultyApi, chance: random.Random) -> None:
        super().__init__(lane, chance, (0.3, 1.5))
        self._api = api

    def send(self) -> None:
        number = self.lane.next_number()
        order = _exported(str(number))
        self._api.orders.append(ExportedOrder(datetime.now(UTC), order.xml))
        self.lane.sent(number)


class ApiFaults(threading.Thread):
    """Puts a fault before some of the API's answers."""

    def __init__(self, api: FaultyApi, chance: random.Random, counts: Counter[str]) -> None:
        super().__init__(name="faults of the API")
        self._api, self._chance, self._counts = api, chance, counts
        self._end = threading.Event()

    def stop(self) -> None:
        """Ends; what was planned is forgotten."""
        self._end.set()
        self.join()
        self._api.plan.clear()

    def run(self) -> None:
        faults = [cut_before, cut_after, cut_within, status(503), status(429, Retry_After="1")]
        while not self._end.wait(self._chance.uniform(0.3, 1.5)):
            self._api.plan.append(self._chance.choice(faults))
            self._counts["API faults"] += 1


@contextmanager
def world(folder: Path, chance: random.Random) -> Iterator[World]:
    """The shop, its servers and its API, running; nobody sends yet."""
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # vsftpd serves as a user of its own
    os.environ["AURORA_TOKEN"] = "the-token"  # of the stand-in
    with ExitStack() as stack:
        sites = {kind: stack.enter_context(_remote(kind, folder)) for kind in REMOTE}
        api = stack.enter_context(FaultyApi())
        ports = {"ftp": free_port(), "sftp": free_port()}
        shop = folder / "shop"
        lanes = _lay_out(shop, sites, api, ports)
        counts: Counter[str] = Counter()
        small_disk = stack.enter_context(_small_disk(shop / "outbox" / "folder"))
        yield World(
            shop, lanes, list(_senders(shop, lanes, sites, ports, api, chance)), list(_receivers(shop, lanes, sites)),
            sites, api, small_disk, ApiFaults(api, random.Random(chance.random()), counts), counts,
        )  # fmt: skip


@contextmanager
def _remote(kind: str, folder: Path) -> Iterator[Site]:
    there = folder / kind
    there.mkdir()
    with (
        _server(kind, there) as (place, data_ports),
        proxy(place.port, BESIDE if data_ports else HOST, data_ports) as line,
    ):
        for name in ("in", "out"):
            (place.root / name).mkdir()
            (place.root / name).chmod(0o777)
        yield Site(kind, place, line)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of one megabyte on `folder`; None where mounting is not allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _lay_out(shop: Path, sites: dict[str, Site], api: FaultyApi, ports: dict[str, int]) -> dict[str, Lane]:
    for name in ("folder", "slow", "site_ftp", "site_sftp", "stock"):
        (shop / "inbox" / name).mkdir(parents=True)
    for name in ("folder", "slow", "site_ftp", "site_sftp", "orders"):
        (shop / "outbox" / name).mkdir(parents=True)
    (shop / "templates").mkdir()
    (shop / "templates" / "rows.txt.j2").write_text(TEMPLATE)
    (shop / "templates" / "orders.txt.j2").write_text("{% for r in records %}order {{ r.OrderID }}\n{% endfor %}")
    (shop / "hash").write_text(passwords.hashed(PASSWORD))
    (shop / "hash").chmod(0o600)
    make_key(shop / "host_key")
    (shop / "scratch").mkdir()
    client_key = make_key(shop / "scratch" / "client_key").with_name("client_key.pub").read_text().strip()
    text = CONFIGURATION.format(
        api=api.url, ftp_port=ports["ftp"], sftp_port=ports["sftp"], client_key=" ".join(client_key.split()[:2])
    )
    lanes = {name: Lane(name) for name in ("folder", "ftp", "sftp", "stock")}
    lanes |= {name: Lane(name, ordered=False) for name in ("slow", "site_ftp", "site_sftp", "orders")}
    for name in ("folder", "slow", "site_ftp", "site_sftp"):
        settle = "300ms" if name == "slow" else "0s"
        text += ROWS.format(
            name=name, endpoint="inbox", folder=name, settle=settle, source="", target="outbox", out=name
        )
    for kind, site in sites.items():
        text += ROWS.format(
            name=kind, endpoint=kind, folder="in", settle="20ms", source=', poll="100ms"', target=kind, out="out"
        )
        table = site.table(f"{LINE_TIMEOUT_SECONDS}s".replace(".0s", "s"))
        text += table.replace("[endpoint.cegid]", f"[endpoint.{kind}]") + "\n"
    (shop / "cegid-daemon.toml").write_text(text)
    return lanes


def _senders(
    shop: Path, lanes: dict[str, Lane], sites: dict[str, Site], ports: dict[str, int], api: FaultyApi,
    chance: random.Random,
) -> Iterator[Sender]:  # fmt: skip
    def seeded() -> random.Random:
        return random.Random(chance.random())

    yield AtomicSender(lanes["folder"], shop / "inbox" / "folder", seeded(), (0.02, 0.4))
    yield AtomicSender(lanes["stock"], shop / "inbox" / "stock", seeded(), (0.1, 0.8), body=make_stock)
    yield SlowSender(lanes["slow"], shop / "inbox" / "slow", seeded(), longest_pause=1.5)
    for kind, site in sites.items():
        yield AtomicSender(lanes[kind], site.place.root / "in", seeded(), (0.05, 0.6))
    kills: Counter[str] = Counter()
    for kind, port in ports.items():
        lane = lanes[f"site_{kind}"]
        yield ClientSender(lane, kind, port, lane.name, shop / "scratch", seeded(), kills)
    yield OrderSender(lanes["orders"], api, seeded())


def _receivers(shop: Path, lanes: dict[str, Lane], sites: dict[str, Site]) -> Iterator[FolderReceiver]:
    for name in ("folder", "slow", "site_ftp", "site_sftp"):
        yield FolderReceiver(shop / "outbox" / name, lanes[name], one_file)
    yield FolderReceiver(shop / "outbox" / "orders", lanes["orders"], read_orders)
    for kind, site in sites.items():
        yield FolderReceiver(site.place.root / "out", lanes[kind], one_file)
