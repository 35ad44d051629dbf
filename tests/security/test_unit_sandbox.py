"""The real daemon, with all that listens, does nothing that its unit's sandbox would forbid."""

from __future__ import annotations

import io
import re
import signal
from collections.abc import Iterator
from ftplib import FTP_TLS

import pytest

from tests.acceptance.harness import rows
from tests.integration.console_site import Browser
from tests.integration.test_systemd import AS_ROOT, UNITS, allowed, needed, text_of
from tests.security.service import OPERATOR, SENDER, Service, running
from tests.servers.places import HOST

ALLOWED_FAMILIES = {"AF_UNIX", "AF_INET", "AF_INET6"}
ASKED_IN_VAIN = {"AF_NETLINK"}  # the C library asks which addresses there are, and does without where it may not


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Every system call of a daemon and its workers, from its start to its end, with everything in between."""
    folder = tmp_path_factory.mktemp("sandbox")
    calls = folder / "calls"
    strace = [needed("strace"), "-D", "-f", "-qq", "-e", "signal=none", "-o", str(calls)]
    limit = int(re.findall(r"(?m)^LimitNOFILE=(\d+)", text_of(UNITS[0]))[0])
    with running(folder / "shop", descriptors=limit, ftps=True, umask=0o027, prefix=strace) as service:
        use_everything(service)
    yield calls.read_text("utf-8", "replace")


def use_everything(service: Service) -> None:
    """Console, drop sites, a large file, a failure, a reload."""
    browser = Browser(service.console)
    browser.log_in("operator", OPERATOR)
    for page in ("/", "/log", "/buffers", "/files", "/metrics", "/health/ready"):
        browser.get(page)
    with FTP_TLS() as client:
        client.connect(HOST, service.ftp)
        client.login("cegid", SENDER)
        client.prot_p()
        client.storbinary("STOR in/site.csv", io.BytesIO(rows("site")))
    service.shop.drop("large.csv", rows("large", 60_000))
    service.shop.drop("bad.csv", b"\xff\xfe\x00\x00")
    service.daemon.send(signal.SIGHUP)
    service.daemon.wait_for(lambda: "Reloaded" in service.daemon.said(), "the reload", 60)
    for name in ("site", "large"):
        service.daemon.wait_for((service.shop.outbox / f"{name}.txt").exists, name, 90)


def test_no_system_call_is_forbidden(trace):
    made = set(re.findall(r"(?m)^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", trace))
    assert {"prlimit64", "prctl", "accept4"} <= made
    assert made - AS_ROOT - allowed(needed("systemd-analyze"), text_of(UNITS[0])) == set()


def test_no_memory_is_writable_and_executable(trace):
    assert re.findall(r"PROT_WRITE\|PROT_EXEC", trace) == []


def test_no_socket_is_of_a_family_that_the_unit_forbids(trace):
    assert set(re.findall(r"socket\((AF_\w+)", trace)) - ASKED_IN_VAIN <= ALLOWED_FAMILIES


def test_what_is_written_elsewhere_has_names_that_nobody_can_guess(trace, tmp_path_factory):
    """Scratch files of SQLite and Python, private in the unit, and those of who looks for a C library."""
    own = str(tmp_path_factory.getbasetemp())
    written = re.findall(r'openat\([^,]+, "(/[^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)', trace)
    outside = {path for path in written if not path.startswith((own, "/proc/self/oom_score_adj", "/dev/null"))}
    random = r"(/var)?/tmp/(tmp)?[a-z0-9_]{8}|(/var)?/tmp/cc\w{6}\..*|/var/tmp/etilqs_\w{1,16}|/dev/shm/sem\.\w{6}"
    assert {path for path in outside if not re.fullmatch(random, path)} == set()
