"""The real daemon on real servers: both directions, and every fault of the line, the server and the daemon at once.

FTP's data connections pass the proxy too: it stands on an address of its own and has the server's passive ports.
CEGID_DAEMON_TEST_EFFORT=2 or more has longer storms, and every protocol with both ways of filing away.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree

from cegid_daemon.sites.aurora_standin import ExportedOrder
from tests.acceptance.harness import EFFORT, ROOT, Daemon, Receiver, Sender, Shop, rows
from tests.acceptance.killing import Zygote, check, is_idle
from tests.servers import ftp, sftp
from tests.servers.aurora import FaultyApi
from tests.servers.places import HOST, Place, Server, free_port
from tests.servers.proxy import Line, proxy

BESIDE = "127.0.0.2"  # where the proxy has the same passive ports as the server has on HOST
KINDS = ("ftp", "ftps", "sftp")
DATA_PORTS = 24
SEED = 20261123
FEW = [("ftp", "delete"), ("ftps", "archive"), ("sftp", "delete")]
WAYS = FEW if EFFORT == 1 else [(kind, after) for kind in KINDS for after in ("archive", "delete")]

ROUTE = """\
[route.a]
title = "Rows"
store = "main"
layout = "rows"
template = "rows.txt.j2"
source = {{ endpoint = "cegid", folder = "in", settle = "20ms", poll = "50ms"{source} }}
target = {{ endpoint = "cegid", folder = "out", name = "{{{{ source.stem }}}}.txt" }}
retry = {{ first = "50ms", longest = "300ms" }}
"""
ORDERS = """\
[route.{name}]
title = "Order Export"
direction = "export"
store = "main"
source = {{ {source}, unique = "r.OrderID" }}
layout = "aurora-order-export"
template = "cegid/order-piece.asc.j2"
target = {{ endpoint = "cegid", folder = "{name}", name = "CC_WEB.asc" }}
output = {{ encoding = "cp1252", newline = "crlf", check = "columns" }}
"""


@dataclass(frozen=True)
class Site:
    """A server and the line that leads to it."""

    kind: str
    place: Place
    line: Line

    @property
    def server(self) -> Server:
        assert self.place.server is not None
        return self.place.server

    @property
    def delivery(self) -> str:
        return "SFTP Delivery" if self.kind == "sftp" else "FTP Delivery"

    def table(self, timeout: str) -> str:
        """[endpoint.cegid], by way of the line."""
        host = HOST if self.kind == "sftp" else BESIDE
        url = self.place.url.replace(f"{HOST}:{self.place.port}/", f"{host}:{self.line.port}/")
        lines = ["[endpoint.cegid]", f'url = "{url}"', f'timeout = "{timeout}"']
        if self.kind == "sftp":
            hosts = Path(self.place.options["known_hosts"])
            hosts.write_text(hosts.read_text().replace(f"]:{self.place.port} ", f"]:{self.line.port} "))
            lines += [f'known_hosts = "{hosts}"', f'private_key = "{self.place.options["private_key"]}"']
        if self.kind == "ftps":
            lines.append(f'ca = "{self.place.options["ca"]}"')
        return "\n".join(lines)


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[tuple[Place, list[int]]]:
    if kind == "sftp":
        with sftp.openssh(folder) as place:
            yield place, []
    else:
        ports = _free_ports()
        settings = {"pasv_min_port": str(ports[0]), "pasv_max_port": str(ports[-1])}
        with ftp.vsftpd(folder, kind, BESIDE, **settings) as place:
            yield place, ports


def _free_ports() -> list[int]:
    """Neighbours below those the kernel gives out by itself."""
    first = 20000 + free_port() % 300 * DATA_PORTS
    return list(range(first, first + DATA_PORTS))


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)  # vsftpd serves as a user of its own
    kind, folder = request.param, tmp_path / "server"
    folder.mkdir()
    with _server(kind, folder) as (place, ports), proxy(place.port, BESIDE if ports else HOST, ports) as line:
        yield Site(kind, place, line)


class RemoteShop(Shop):
    """A shop whose files come from the server's folder `in` and go to its folder `out`."""

    def __init__(self, folder: Path, site: Site, *routes: str, timeout: str = "2s", more: str = "") -> None:
        folder.mkdir()
        super().__init__(folder, *routes, layout=f"{site.table(timeout)}\n{more}")
        self.site = site
        self.inbox, self.outbox = self.folder_there("in"), self.folder_there("out")

    def folder_there(self, name: str) -> Path:
        """A folder on the server that its user may write to."""
        path = self.site.place.root / name
        path.mkdir()
        path.chmod(0o777)
        return path

    def processed(self) -> Counter[bytes]:
        """The originals that were filed away, by content."""
        return Counter(path.read_bytes() for path in self.inbox.glob("processed/*/*"))

    def log(self) -> list[tuple[str, ...]]:
        return self.sql("SELECT variant, name, endpoint, outcome FROM api_integration_log ORDER BY id")


def test_a_file_goes_from_server_to_server_and_its_original_is_filed_away(site: Site, tmp_path: Path) -> None:
    shop = RemoteShop(tmp_path / "shop", site, ROUTE.format(source=""))
    with shop.run() as daemon:
        shop.drop("S.csv", rows("m1", 2))
        shop.drop("bad.csv", b"ID;N\nbroken\n")
        daemon.wait_for(lambda: sorted(shop.states()) == ["done", "failed"], "both messages")
        daemon.wait_for(lambda: not [path for path in shop.inbox.iterdir() if path.is_file()], "filed away")
        assert daemon.stop() == 0
    assert shop.out() == {"S.txt": b"m1;0\nm1;1\n"}
    assert shop.processed() == Counter([rows("m1", 2)])
    assert (shop.inbox / "failed/bad.csv").read_bytes() == b"ID;N\nbroken\n"
    assert "bad.csv" in shop.failed("bad.csv")
    assert sorted(shop.log()) == [
        ("Modified", f"{site.delivery}: Rows", "cegid", "ok"),
        ("Unmodified", "Rows", "cegid", "failed"),
        ("Unmodified", "Rows", "cegid", "ok"),
    ]
    assert shop.spool() == []


def test_orders_of_the_store_reach_cegid_once_each_and_replace_no_file_it_has_not_taken(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURORA_TOKEN", "the-token")
    with FaultyApi(orders=[_exported("A1"), _exported("A2")]) as api:
        shop = RemoteShop(
            tmp_path / "shop", site,
            ORDERS.format(name="dropped", source='endpoint = "inbox", folder = "in", settle = "0s"'),
            ORDERS.format(
                name="polled", source='endpoint = "aurora", request = "aurora/order-get.xml.j2", poll = "100ms"'
            ),
            more=f'[endpoint.aurora]\nurl = "{api.url}"\ntoken = {{ env = "AURORA_TOKEN" }}\n',
        )  # fmt: skip
        dropped, polled = shop.folder_there("dropped"), shop.folder_there("polled")
        here = shop.folder / "inbox" / "in"
        with shop.run() as daemon:
            shop.drop("ORDERS.xml", _export("0001", "0002"), here)
            daemon.wait_for(lambda: _orders(dropped) == {"CC_WEB.asc": ["0001", "0002"]}, "the first orders")
            daemon.wait_for(lambda: _orders(polled) == {"CC_WEB.asc": ["A1", "A2"]}, "the polled orders")
            shop.drop("ORDERS.xml", _export("0002", "0003"), here)
            api.orders.append(_exported("A3"))
            daemon.wait_for(lambda: _orders(dropped).get("CC_WEB.2.asc") == ["0003"], "the next order")
            daemon.wait_for(lambda: _orders(polled).get("CC_WEB.2.asc") == ["A3"], "the next polled order")
            shop.drop("ORDERS.xml", _export("0001", "0003"), here)
            daemon.wait_for(lambda: shop.states()["done"] >= 5 and not (here / "ORDERS.xml").exists(), "nothing new")
            assert daemon.stop() == 0
    assert _orders(dropped) == {"CC_WEB.asc": ["0001", "0002"], "CC_WEB.2.asc": ["0003"]}
    assert _orders(polled) == {"CC_WEB.asc": ["A1", "A2"], "CC_WEB.2.asc": ["A3"]}
    body = (dropped / "CC_WEB.asc").read_bytes()
    assert "Écharpe rayée".encode("cp1252") in body
    assert body.count(b"\r\n") == body.count(b"\n") == 1 + 2 * 2
    entries = shop.sql("SELECT kind, variant, name, outcome FROM api_integration_log WHERE route = 'dropped'")
    assert Counter(entries) == {
        ("Response", "Unmodified", "Order Export", "ok"): 3,
        ("Response", "Modified", f"{site.delivery}: Order Export", "ok"): 2,
    }


def _sample(number: str) -> etree._Element:
    element = next(etree.parse(str(ROOT / "samples/ORDERS.xml")).iter("{*}Order"))
    next(element.iter("OrderID")).text = number
    return element


def _exported(number: str) -> ExportedOrder:
    return ExportedOrder(datetime.now(UTC) - timedelta(minutes=5), etree.tostring(_sample(number), with_tail=False))


def _export(*numbers: str) -> bytes:
    tree = etree.parse(str(ROOT / "samples/ORDERS.xml"))
    parent = next(tree.iter("{*}Order")).getparent()
    assert parent is not None
    parent[:] = [_sample(number) for number in numbers]
    return etree.tostring(tree)


def _orders(folder: Path) -> dict[str, list[str]]:
    """The orders in each file that can be seen: their numbers, in order."""
    found = {}
    for path in folder.iterdir():
        if not path.name.startswith("."):
            table = path.read_bytes().decode("cp1252").splitlines()[1:]
            found[path.name] = list(dict.fromkeys(row.split(";")[1] for row in table))
    return found


def test_a_silent_server_delays_no_stop(site: Site, tmp_path: Path) -> None:
    shop = RemoteShop(tmp_path / "shop", site, ROUTE.format(source=""), timeout="60s")
    names = [f"S{number}.csv" for number in range(6)]
    with Receiver(shop.outbox) as receiver, Sender(shop, names, lambda uid: rows(uid, 3000)) as sender:
        with shop.run() as daemon:
            sender.limit = 30
            daemon.wait_for(lambda: len(receiver.bodies) > 3, "deliveries")
            site.line.stalled = True
            time.sleep(0.5)
            _ends_soon(daemon)
        site.line.heal()
        site.line.cut()
        with shop.run() as daemon:
            daemon.wait_for(lambda: is_idle(shop, sender), "all of them")
    check(shop, sender, receiver, 1)


def _ends_soon(daemon: Daemon) -> None:
    began = time.monotonic()
    assert daemon.stop(signal.SIGTERM) == 0, daemon.said()[-3000:]
    assert time.monotonic() - began < 9
    assert "Traceback" not in daemon.said()


class Weather:
    """What befalls line and server while the daemon runs, one after another, in an order and measure of the seed."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._chance = chance
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="weather")
        self.seen: Counter[str] = Counter()

    def __enter__(self) -> Weather:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        befalls = {"cut up": self._cut_up, "cut down": self._cut_down, "stall": self._stall, "server": self._kill}
        while not self._end.is_set():
            for kind in self._chance.sample(sorted(befalls), len(befalls)):
                befalls[kind]()
                self.seen[kind] += 1
                if self._end.wait(self._chance.uniform(0.1, 0.5)):
                    return

    def _bytes(self) -> int:
        """From a few to some hundred thousand, small numbers as likely as large ones."""
        return int(10 ** self._chance.uniform(1, 5.5))

    def _cut_up(self) -> None:
        self._site.line.cut_up = self._site.line.passed_up + self._bytes()
        self._end.wait(0.4)
        self._site.line.heal()

    def _cut_down(self) -> None:
        self._site.line.cut_down = self._site.line.passed_down + self._bytes()
        self._end.wait(0.4)
        self._site.line.heal()

    def _stall(self) -> None:
        self._site.line.stalled = True
        self._end.wait(self._chance.uniform(0.05, 1.5))
        self._site.line.heal()

    def _kill(self) -> None:
        self._site.server.kill()
        self._site.line.cut()
        self._end.wait(self._chance.uniform(0.05, 0.3))
        self._site.server.start()


@pytest.mark.parametrize(("site", "after"), WAYS, indirect=["site"])
@pytest.mark.timeout(900)
def test_line_server_and_daemon_fail_at_random_and_each_message_arrives_exactly_once(
    site: Site, tmp_path: Path, after: str
) -> None:
    seed = f"{SEED} {site.kind} {after}"
    sys.stdout.write(f"seed: {seed}\n")
    chance = random.Random(seed)
    shop = RemoteShop(tmp_path / "shop", site, ROUTE.format(source=f', after = "{after}"'), timeout="1s")
    zygote = Zygote(shop)
    sizes = random.Random(seed)
    try:
        with (
            Receiver(shop.outbox) as receiver,
            Sender(
                shop, ["S.csv", "T.csv", "U.csv"], lambda uid: rows(uid, sizes.choice([2, 2, 2, 40, 20000]))
            ) as sender,
        ):
            with Weather(site, chance) as weather:
                for _ in range(3 * EFFORT):
                    sender.limit += 8
                    zygote.run(0, lambda: False, kill_after=chance.uniform(0.8, 2.5))
            zygote.run(0, lambda: is_idle(shop, sender))
    finally:
        zygote.close()
    sys.stdout.write(f"{dict(weather.seen)}, {len(sender.bodies)} files\n")
    check(shop, sender, receiver, 1)
    assert [path for path in shop.inbox.rglob("*") if path.name.startswith(".") and path.name != ".aside"] == []
    if after == "archive":
        assert shop.processed() == Counter(sender.bodies.values())
