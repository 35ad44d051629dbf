"""Our own SFTP site with real clients: paramiko, OpenSSH's sftp, and our own endpoint."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paramiko
import pytest

from cegid_daemon.endpoints.sftp import SftpEndpoint
from cegid_daemon.errors import Exists
from cegid_daemon.model import EndpointSpec, SiteSpec
from cegid_daemon.sites.sftp_site import SftpSite
from cegid_daemon.sites.upload import Uploads
from tests.servers.dropsite import PASSWORD, Running, dropsite, users
from tests.servers.places import HOST, Hidden, make_key, program, wait_until
from tests.servers.sftp import known_hosts


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Running]:
    with dropsite("sftp", tmp_path) as running:
        yield running


@contextmanager
def connected(site: Running, user: str = "cegid", password: str = PASSWORD) -> Iterator[paramiko.Transport]:
    transport = paramiko.Transport((HOST, site.port))
    try:
        transport.connect(username=user, password=password)
        yield transport
    finally:
        transport.close()
        transport.join(5)


@contextmanager
def login(site: Running) -> Iterator[paramiko.SFTPClient]:
    with connected(site) as transport:
        client = paramiko.SFTPClient.from_transport(transport)
        assert client is not None
        yield client


def test_an_upload_gets_its_name_when_it_is_closed_and_not_before(site: Running) -> None:
    with login(site) as sftp:
        sftp.mkdir("stock")
        file = sftp.open("stock/S.csv", "wb")
        file.write(b"a;b\r\n")
        file.flush()
        folder = site.root / "stock"
        wait_until((folder / ".uploading" / "S.csv").exists)
        assert sftp.listdir("stock") == []
        assert site.landed == []
        file.write(b"1;2\r\n")
        file.close()
        assert (folder / "S.csv").read_bytes() == b"a;b\r\n1;2\r\n"
        assert sftp.listdir("stock") == ["S.csv"]
    assert [(where, name, identity.size) for where, name, identity in site.landed] == [(str(folder), "S.csv", 10)]


def test_a_client_that_dies_leaves_a_part_that_can_be_resumed(site: Running) -> None:
    with connected(site) as transport:
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        file = sftp.open("S.csv", "wb")
        file.write(b"half")
        file.flush()
        wait_until((site.root / ".uploading" / "S.csv").exists)
        transport.sock.close()
    with login(site) as again:
        wait_until(lambda: again.stat("S.csv").st_size == 4)
        assert again.listdir() == []
        assert site.landed == []
        with again.open("S.csv", "ab") as file:
            file.write(b" and half")
    assert (site.root / "S.csv").read_bytes() == b"half and half"
    assert site.names() == ["S.csv"]


@pytest.mark.parametrize("pieces", [0, 1, 40])
def test_an_upload_whose_connection_is_reset_before_it_is_closed_is_no_file(site: Running, pieces: int) -> None:
    with connected(site) as transport:
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        file = sftp.open("S.csv", "wb")
        for _ in range(pieces):
            file.write(b"x" * 30_000)
        aside = site.root / ".uploading" / "S.csv"
        wait_until(lambda: aside.exists() and aside.stat().st_size == pieces * 30_000)
        transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.sock.close()
    with login(site) as again:
        assert again.stat("S.csv").st_size == pieces * 30_000
        with again.open("S.csv", "ab") as file:
            file.write(b"rest")
    assert (site.root / "S.csv").read_bytes() == b"x" * 30_000 * pieces + b"rest"
    assert [name for _, name, _ in site.landed] == ["S.csv"]


def test_a_session_that_ends_without_closing_the_file_leaves_a_part(site: Running) -> None:
    with connected(site) as transport:
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        file = sftp.open("S.csv", "wb")
        file.write(b"half")
        channel = sftp.get_channel()
        assert channel is not None
        wait_until((site.root / ".uploading" / "S.csv").exists)
        channel.shutdown_write()
        time.sleep(0.3)
    assert site.landed == []
    assert not (site.root / "S.csv").exists()


def test_bytes_that_come_out_of_order_make_a_whole_file_and_a_gap_never_does(site: Running) -> None:
    with login(site) as sftp:
        with sftp.open("S.bin", "wb") as file:
            file.seek(5)
            file.write(b"56789")
            file.seek(0)
            file.write(b"01234")
        assert (site.root / "S.bin").read_bytes() == b"0123456789"
        gap = sftp.open("gap.bin", "wb")
        gap.seek(5)
        gap.write(b"56789")
        gap.close()  # paramiko hides what the server says to it
        assert sftp.listdir() == ["S.bin"]


def test_times_are_set_before_the_file_is_closed_or_not_at_all(site: Running) -> None:
    with login(site) as sftp:
        with sftp.open("early", "wb") as file:
            file.write(b"x")
            file.utime((1000, 1000))
        with sftp.open("late", "wb") as file:
            file.write(b"x")
        sftp.utime("late", (1000, 1000))
        sftp.chmod("late", 0o777)
    assert (site.root / "early").stat().st_mtime == 1000
    assert (site.root / "late").stat().st_mtime > time.time() - 60
    for _, name, identity in site.landed:
        assert (site.root / name).stat().st_mtime_ns == identity.mtime_ns


def test_nothing_outside_the_folder_can_be_reached(site: Running, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (site.root / "link").symlink_to(outside)
    (site.root / "file").symlink_to(outside / "secret")
    with login(site) as sftp:
        assert sftp.normalize("../../..") == "/"
        assert sftp.listdir() == []
        for path in ("file", "link/secret", "../outside/secret", "/../outside/secret", ".uploading/x"):
            for attempt in (sftp.stat, sftp.lstat, sftp.open, sftp.remove, sftp.readlink):
                with pytest.raises(OSError):
                    attempt(path)
        for path in ("link/new", "file", "../outside/new"):
            with pytest.raises(OSError):
                sftp.open(path, "wb")
        with pytest.raises(OSError):
            sftp.symlink("/etc/passwd", "made")
        with pytest.raises(OSError):
            sftp.rename("link", "moved")
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


def test_there_is_no_shell_no_command_and_no_forwarding(site: Running) -> None:
    with connected(site) as transport:
        with pytest.raises(paramiko.SSHException):
            transport.open_session().exec_command("id")
        with pytest.raises(paramiko.SSHException):
            transport.open_session().invoke_shell()
        with pytest.raises(paramiko.SSHException):
            transport.open_channel("direct-tcpip", (HOST, site.port), (HOST, 1))


def test_a_wrong_password_a_wrong_name_and_guessing_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with dropsite("sftp", tmp_path, attempts=3) as site:
        for name, password in (("cegid", "wrong-password"), ("nobody", PASSWORD), ("cegid", "")):
            with pytest.raises(paramiko.SSHException), connected(site, name, password):
                pass
        with pytest.raises((paramiko.SSHException, EOFError, OSError)), connected(site):
            pass
    assert "wrong-password" not in caplog.text
    assert PASSWORD not in caplog.text
    assert "kept out" in caplog.text


def test_a_key_opens_where_its_user_has_it_and_no_password_does(tmp_path: Path) -> None:
    mine, other = make_key(tmp_path / "mine"), make_key(tmp_path / "other")
    line = mine.with_suffix(".pub").read_text()
    with dropsite("sftp", tmp_path / "site", user={"keys": (line,), "password": None}) as site:
        assert sftp_program(site, mine, "ls").returncode == 0
        assert sftp_program(site, other, "ls").returncode != 0
        with pytest.raises(paramiko.SSHException), connected(site):
            pass


def sftp_program(site: Running, key: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    hosts = known_hosts(site.keys, site.port, site.keys / "host_key.pub")
    return subprocess.run(
        [program("sftp", "openssh-client"), "-b", "-", "-P", str(site.port), "-i", str(key), "-o", "IdentitiesOnly=yes",
         "-o", f"UserKnownHostsFile={hosts}", f"cegid@{HOST}"],
        input="\n".join(commands) + "\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_openssh_puts_resumes_lists_renames_and_gets(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(3_000_000))
    with dropsite("sftp", tmp_path / "site", user={"keys": (key.with_suffix(".pub").read_text(),)}) as site:
        (site.root / ".uploading").mkdir()
        (site.root / ".uploading" / "large.bin").write_bytes(large.read_bytes()[:1_000_000])
        done = sftp_program(
            site, key, f"put -a {large}", f"put -p {large} second.bin", "rename second.bin third.bin", "ls -1",
            f"get third.bin {tmp_path}/back.bin", "rm third.bin", "mkdir x", "rmdir x",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (site.root / "large.bin").read_bytes() == large.read_bytes() == (tmp_path / "back.bin").read_bytes()
    assert [path.name for path in site.root.iterdir()] == ["large.bin"]


def test_openssh_with_many_large_requests_in_flight(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(8_000_000))
    with dropsite("sftp", tmp_path / "site", user={"keys": (key.with_suffix(".pub").read_text(),)}) as site:
        hosts = known_hosts(site.keys, site.port, site.keys / "host_key.pub")
        done = subprocess.run(
            [program("sftp", "openssh-client"), "-R", "64", "-B", "200000", "-b", "-", "-P", str(site.port),
             "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={hosts}", f"cegid@{HOST}"],
            input=f"put {large}\nget large.bin {tmp_path}/back.bin\n",
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (site.root / "large.bin").read_bytes() == large.read_bytes() == (tmp_path / "back.bin").read_bytes()


def test_our_own_endpoint_delivers_and_takes(site: Running) -> None:
    hosts = known_hosts(site.keys, site.port, site.keys / "host_key.pub")
    options = {"password": Hidden(PASSWORD), "known_hosts": str(hosts), "timeout": timedelta(seconds=10)}
    endpoint = SftpEndpoint.of(EndpointSpec("site", f"sftp://cegid@{HOST}:{site.port}/", options))
    try:
        endpoint.make_folder("orders")
        written = endpoint.put("orders", ".CC.asc.part", [b"x" * 100_000])
        assert written.size == 100_000
        endpoint.rename("orders", ".CC.asc.part", "orders", "CC.asc", replace=False)
        endpoint.put("orders", "again", [b"y"])
        with pytest.raises(Exists):
            endpoint.rename("orders", "again", "orders", "CC.asc", replace=False)
        endpoint.rename("orders", "again", "orders", "CC.asc", replace=True)
        assert [one.name for one in endpoint.list("orders")] == ["CC.asc"]
        with endpoint.read("orders", "CC.asc") as reading:
            assert b"".join(reading) == b"y"
        endpoint.remove("orders", "CC.asc")
        assert endpoint.list("orders") == []
    finally:
        endpoint.close()


def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with dropsite("sftp", tmp_path, max_size=1000) as site, login(site) as sftp:
        with sftp.open("fits", "wb") as file:
            file.write(bytes(1000))
        with pytest.raises(OSError), sftp.open("large", "wb") as file:
            file.write(bytes(1001))
        assert sftp.listdir() == ["fits"]
        wait_until(lambda: not (site.root / ".uploading").exists())


def test_the_number_of_connections_is_bounded(tmp_path: Path) -> None:
    with dropsite("sftp", tmp_path, connections=1) as site, login(site) as sftp:
        assert sftp.listdir() == []
        with pytest.raises((paramiko.SSHException, EOFError, OSError)), connected(site):
            pass
        assert sftp.listdir() == []


def test_an_idle_client_is_sent_away(tmp_path: Path) -> None:
    with dropsite("sftp", tmp_path, idle=timedelta(seconds=1)) as site, connected(site) as transport:
        wait_until(lambda: not transport.is_active(), 10)


def test_a_client_that_asks_for_anything_is_not_idle(tmp_path: Path) -> None:
    with dropsite("sftp", tmp_path, idle=timedelta(seconds=1)) as site, login(site) as sftp:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            assert sftp.normalize(".") == "/"
            time.sleep(0.2)


def test_a_stop_ends_connections_and_keeps_what_was_on_its_way(tmp_path: Path) -> None:
    with dropsite("sftp", tmp_path) as site:
        transport = paramiko.Transport((HOST, site.port))
        transport.connect(username="cegid", password=PASSWORD)
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        file = sftp.open("S.csv", "wb")
        file.write(b"half")
        file.flush()
        wait_until(lambda: (site.root / ".uploading" / "S.csv").stat().st_size == 4)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    transport.close()
    assert site.landed == []
    assert (site.root / ".uploading" / "S.csv").read_bytes() == b"half"


def test_a_session_that_its_client_ends_in_good_order_ends_with_success(site: Running) -> None:
    with connected(site) as transport:
        channel = transport.open_session()
        channel.invoke_subsystem("sftp")
        channel.shutdown_write()
        assert channel.recv_exit_status() == 0


def test_scp_hears_that_its_file_arrived(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    (tmp_path / "S.csv").write_bytes(b"a;b")
    with dropsite("sftp", tmp_path / "site", user={"keys": (key.with_suffix(".pub").read_text(),)}) as site:
        hosts = known_hosts(site.keys, site.port, site.keys / "host_key.pub")
        done = subprocess.run(
            [program("scp", "openssh-client"), "-s", "-B", "-P", str(site.port), "-i", str(key),
             "-o", f"UserKnownHostsFile={hosts}", str(tmp_path / "S.csv"), f"cegid@{HOST}:S.csv"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert site.names() == ["S.csv"]


def test_a_site_that_accepts_nobody_any_more_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_site: SftpSite, sock: socket.socket, *_: object) -> None:
        sock.close()
        raise RuntimeError("unforeseen")

    key = str(make_key(tmp_path / "host_key"))
    spec = SiteSpec("sftp", HOST, 0, users(tmp_path / "root"), host_key=key, idle=timedelta(seconds=0.2))
    site = SftpSite(spec, Uploads(), lambda *_: None, clock=lambda: datetime.now(UTC))
    site.start()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(SftpSite, "_begin", broken)
            with socket.create_connection((HOST, site.port)) as client:
                client.settimeout(5)
                wait_until(lambda: not site._running())
        assert "no connection can be accepted any more" in caplog.text
        site.tend()
        with socket.create_connection((HOST, site.port)) as client:
            client.settimeout(5)
            assert client.recv(7) == b"SSH-2.0"
    finally:
        site.stop()
