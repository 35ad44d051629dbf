"""The real daemon with everything that listens: console, FTP or FTPS site, SFTP site; bounded as its unit bounds it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cegid_daemon import passwords
from tests.acceptance.harness import Daemon, Shop, opened_by, route_table, rows
from tests.servers.places import HOST, free_port, make_certificates, make_key

OPERATOR, VIEWER, SENDER = "operators only: ünd länger", "viewers only: ünd länger", "senders only: ünd länger"
DESCRIPTORS = 1024  # what a service has unless its unit says more
MAX_GROWTH = 150_000_000  # bytes the daemon itself may grow beyond what it needs when idle
DELIVERY_SECONDS = 15.0  # until a dropped file must have arrived, whatever else goes on

LISTENERS = """\
[console]
listen = "{host}:{console}"
password = {{ file = "operator" }}
viewer_password = {{ file = "viewer" }}
{console_keys}
[site.ftp]
listen = "{host}:{ftp}"
users.cegid = {{ password = {{ file = "sender" }}, folder = "inbox" }}
{ftp_keys}
[site.sftp]
listen = "{host}:{sftp}"
host_key = "host_key"
users.cegid = {{ password = {{ file = "sender" }}, folder = "inbox" }}
{sftp_keys}
"""


class Service:
    """A running daemon, its ports, and what can be seen of it from outside."""

    def __init__(self, shop: Shop, daemon: Daemon, ports: dict[str, int]) -> None:
        self.shop = shop
        self.daemon = daemon
        self.console, self.ftp, self.sftp = ports["console"], ports["ftp"], ports["sftp"]
        self.pid = daemon.process.pid
        self._drops = 0
        self.deliver()
        self.idle_size = self.size_before = self.resident_size()
        self.begin_attack()

    @property
    def console_url(self) -> str:
        """Without a slash at its end."""
        return f"http://{HOST}:{self.console}"

    def resident_size(self) -> int:
        """Bytes of memory of the daemon itself, without its workers."""
        return self._of_status("VmRSS")

    def growth(self) -> int:
        """The most bytes it had since `begin_attack` beyond what it needs when idle; the kernel keeps the peak."""
        return self._of_status("VmHWM") - self.idle_size

    def _of_status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def added(self) -> int:
        """The most bytes it had since `begin_attack` beyond what it had then."""
        return self._of_status("VmHWM") - self.size_before

    def begin_attack(self) -> None:
        """From here on the peak counts: neither the start nor earlier attacks are this one's."""
        self.size_before = self.resident_size()
        with suppress(PermissionError):  # only root may: without it the start counts too
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(opened_by(self.pid))

    def deliver(self, seconds: float = DELIVERY_SECONDS) -> float:
        """Drops a file and waits until it has arrived; returns the seconds it took. The measure of every attack."""
        self._drops += 1
        name = f"probe{self._drops}"
        begun = time.monotonic()
        self.shop.drop(f"{name}.csv", rows(name))
        arrived = self.shop.outbox / f"{name}.txt"
        self.daemon.wait_for(arrived.exists, f"{name} delivered", seconds)
        return time.monotonic() - begun

    def check(self) -> None:
        """The daemon lives, delivers, was never much larger than idle, and met nothing that nobody foresaw."""
        assert self.daemon.process.poll() is None, self.daemon.said()[-3000:]
        self.deliver()
        assert self.growth() <= MAX_GROWTH, f"grew by {self.growth():,} bytes at its peak"
        assert "Traceback" not in self.daemon.said(), self.daemon.said()[-6000:]


@contextmanager
def running(
    folder: Path, *, ftps: bool = False, extra: str = "", console_keys: str = "", ftp_keys: str = "",
    sftp_keys: str = "", descriptors: int = DESCRIPTORS, umask: int = 0o022, cores: bool = False,
    prefix: Sequence[str] = (),
) -> Iterator[Service]:  # fmt: skip
    """Starts a daemon in `folder`; `extra` is added to its configuration, the keys to the tables of its listeners."""
    ports = {name: free_port() for name in ("console", "ftp", "sftp")}
    folder.mkdir(parents=True, exist_ok=True)
    for name, password in (("operator", OPERATOR), ("viewer", VIEWER)):
        _write_secret(folder / name, password)
    _write_secret(folder / "sender", passwords.hashed(SENDER, salt=bytes(16)))
    make_key(folder / "host_key")
    if ftps:
        ftp_keys += f'\ncertificate = "{make_certificates(folder / "tls").both}"'
    listeners = LISTENERS.format(
        host=HOST, **ports, console_keys=console_keys, ftp_keys=ftp_keys, sftp_keys=sftp_keys
    )  # fmt: skip
    shop = Shop(folder, route_table("rows"), extra, layout="")
    text = shop.configuration.read_text("utf-8")
    shop.configuration.write_text(f"{text}\n{listeners}", "utf-8")
    with shop.run(prefix=prefix, setup=lambda: _bound(descriptors, umask, cores)) as daemon:
        yield Service(shop, daemon, ports)


def _write_secret(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
    path.chmod(0o600)


def _bound(descriptors: int, umask: int, cores: bool) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    os.umask(umask)
    if cores:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
