"""Our own FTP site with real clients: ftplib over a socket, lftp as a program."""

from __future__ import annotations

import ftplib
import io
import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import HOST, program, wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Running]:
    with dropsite("ftp", tmp_path) as running:
        yield running


def login(site: Running) -> ftplib.FTP:
    ftp = ftplib.FTP(timeout=10, encoding="utf-8")
    ftp.connect(HOST, site.port)
    ftp.login("cegid", PASSWORD)
    return ftp


def begin(ftp: ftplib.FTP, command: str, start: bytes, rest: int | None = None) -> socket.socket:
    """An upload of which the first bytes have arrived."""
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd(command, rest)
    data.sendall(start)
    return data


def test_an_upload_gets_its_name_when_it_is_complete_and_not_before(site: Running) -> None:
    with login(site) as ftp:
        ftp.mkd("stock")
        data = begin(ftp, "STOR stock/S.csv", b"a;b\r\n")
        folder = site.root / "stock"
        wait_until((folder / ".uploading" / "S.csv").exists)
        with login(site) as other:
            assert other.nlst("stock") == []
            assert list(other.mlsd("stock")) == []
        assert not (folder / "S.csv").exists()
        assert site.landed == []
        data.sendall(b"1;2\r\n")
        data.close()
        assert ftp.voidresp().startswith("226")
        assert (folder / "S.csv").read_bytes() == b"a;b\r\n1;2\r\n"
        assert not (folder / ".uploading").exists()
    ((where, name, identity),) = site.landed
    status = (folder / "S.csv").stat()
    assert (where, name) == (str(folder), "S.csv")
    assert (identity.size, identity.mtime_ns, identity.inode) == (10, status.st_mtime_ns, status.st_ino)


def test_a_text_transfer_changes_no_line_end(site: Running) -> None:
    with login(site) as ftp:
        ftp.sendcmd("TYPE A")
        data = ftp.transfercmd("STOR A.csv")
        data.sendall(b"1\r\n2\n3\r")
        data.close()
        ftp.voidresp()
        assert (site.root / "A.csv").read_bytes() == b"1\r\n2\n3\r"
        ftp.sendcmd("TYPE A")
        data = ftp.transfercmd("RETR A.csv")
        assert data.recv(100) == b"1\r\n2\n3\r"
        data.close()
        ftp.voidresp()


@pytest.mark.parametrize("how", ["REST", "APPE"])
def test_a_broken_upload_is_resumed(site: Running, how: str) -> None:
    ftp = login(site)
    data = begin(ftp, "STOR S.csv", b"half")
    wait_until(lambda: (site.root / ".uploading" / "S.csv").exists() and size(site.root / ".uploading" / "S.csv") == 4)
    vanish(ftp, data)
    with login(site) as again:
        again.voidcmd("TYPE I")
        wait_until(lambda: again.size("S.csv") in {3, 4})  # one less if the end of the data came
        assert site.landed == []
        come = again.size("S.csv") or 0
        rest = io.BytesIO(b"half and half"[come:])
        again.storbinary("STOR S.csv", rest, rest=come) if how == "REST" else again.storbinary("APPE S.csv", rest)
    assert (site.root / "S.csv").read_bytes() == b"half and half"
    assert site.names() == ["S.csv"]


def size(path: Path) -> int:
    return path.stat().st_size


def vanish(ftp: ftplib.FTP, data: socket.socket) -> None:
    """What the kernel does for a client that is killed: both connections end, the older one first."""
    ftp.close()
    data.close()


def test_a_client_that_dies_leaves_no_file_that_looks_whole(site: Running) -> None:
    for number in range(20):
        ftp = login(site)
        vanish(ftp, begin(ftp, f"STOR {number}.csv", b"half a file"))
    wait_until(lambda: len(list((site.root / ".uploading").iterdir())) == 20)
    time.sleep(0.2)
    assert site.landed == []
    assert [path.name for path in site.root.iterdir()] == [".uploading"]


def reset(data: socket.socket) -> None:
    """What a firewall or a dying line does to a connection: it ends, and nobody has said that all was sent."""
    data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket.close(data)


def check_reset(site: Running, ftp: ftplib.FTP, size_sent: int) -> None:
    """An upload whose data connection was reset is refused to the client that is still there, and can be resumed."""
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd("STOR S.csv")
    data.sendall(b"x" * size_sent)
    wait_until(lambda: (aside := site.root / ".uploading" / "S.csv").exists() and size(aside) == size_sent)
    reset(data)
    with pytest.raises(ftplib.error_temp, match="426"):
        ftp.voidresp()
    assert site.landed == []
    assert not (site.root / "S.csv").exists()
    ftp.storbinary("STOR S.csv", io.BytesIO(b"rest"), rest=size_sent)
    assert (site.root / "S.csv").read_bytes() == b"x" * size_sent + b"rest"
    assert site.names() == ["S.csv"]


@pytest.mark.parametrize("size_sent", [1, 100_000])
def test_an_upload_whose_data_connection_is_reset_is_no_file(site: Running, size_sent: int) -> None:
    with login(site) as ftp:
        check_reset(site, ftp, size_sent)


def test_an_abort_leaves_no_file(site: Running) -> None:
    with login(site) as ftp:
        data = begin(ftp, "STOR S.csv", b"half")
        ftp.sock.sendall(b"ABOR\r\n")
        data.close()
        ftp.sock.sendall(b"NOOP\r\n")  # ABOR has one reply or two, as the end of the data came before it or after
        replies = [ftp.getmultiline()[:3]]
        while replies[-1] != "200":
            replies.append(ftp.getmultiline()[:3])
        assert replies[:-1]
        assert set(replies[:-1]) <= {"426", "225", "226"}
        with login(site) as other:
            assert other.nlst() == []
    assert site.landed == []


def test_appending_to_a_whole_file_leaves_it_whole_until_the_end(site: Running) -> None:
    (site.root / "S.csv").write_bytes(b"one\n")
    with login(site) as ftp:
        data = begin(ftp, "APPE S.csv", b"two\n")
        wait_until((site.root / ".uploading" / "S.csv").exists)
        assert (site.root / "S.csv").read_bytes() == b"one\n"
        data.close()
        ftp.voidresp()
    assert (site.root / "S.csv").read_bytes() == b"one\ntwo\n"


def test_a_later_upload_of_the_same_name_wins_over_one_that_hangs(site: Running) -> None:
    with login(site) as slow, login(site) as quick:
        data = begin(slow, "STOR S.csv", b"old")
        wait_until((site.root / ".uploading" / "S.csv").exists)
        quick.storbinary("STOR S.csv", io.BytesIO(b"new"))
        data.close()
        with pytest.raises(ftplib.error_temp):
            slow.voidresp()
    assert (site.root / "S.csv").read_bytes() == b"new"
    assert site.names() == ["S.csv"]


def test_nothing_outside_the_folder_can_be_reached(site: Running, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (site.root / "link").symlink_to(outside)
    (site.root / "file").symlink_to(outside / "secret")
    with login(site) as ftp:
        ftp.voidcmd("TYPE I")
        for command in ("CWD link", "SIZE file", "SIZE ../outside/secret", "SIZE /../../outside/secret",
                        "SIZE link/secret", "DELE link/secret", "MKD link/x", "RNFR link/secret",
                        "SIZE .uploading/x", "MKD .uploading"):  # fmt: skip
            with pytest.raises(ftplib.error_perm):
                ftp.voidcmd(command)
        for path in ("link/new", "../outside/new", "file"):
            with pytest.raises(ftplib.all_errors):
                ftp.storbinary(f"STOR {path}", io.BytesIO(b"x"))
        assert ftp.nlst() == []
        with pytest.raises(ftplib.error_perm):
            ftp.retrbinary("RETR file", lambda _: None)
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_text() == "secret"


def test_names_of_any_bytes_pass(site: Running) -> None:
    name = os.fsdecode(b"caf\xe9 'x'.csv")
    with login(site) as ftp:
        ftp.encoding = "latin-1"
        ftp.storbinary("STOR caf\xe9 'x'.csv", io.BytesIO(b"x"))
        assert "caf\xe9 'x'.csv" in ftp.nlst()
    assert (site.root / name).read_bytes() == b"x"


def test_a_file_put_under_another_name_and_renamed_is_known_to_be_whole(site: Running) -> None:
    with login(site) as ftp:
        ftp.storbinary("STOR S.tmp", io.BytesIO(b"x"))
        ftp.rename("S.tmp", "S.csv")
    assert site.names() == ["S.csv", "S.tmp"]


def test_a_renamed_file_that_did_not_come_in_here_is_not_vouched_for(site: Running) -> None:
    (site.root / "other.tmp").write_bytes(b"being written by somebody else")
    with login(site) as ftp:
        ftp.rename("other.tmp", "other.csv")
    assert site.landed == []


def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, max_size=1000) as site, login(site) as ftp:
        ftp.storbinary("STOR fits", io.BytesIO(bytes(1000)))
        with pytest.raises(ftplib.error_perm, match="552"):
            try:
                ftp.storbinary("STOR large", io.BytesIO(bytes(1001)))
            except OSError as error:
                if isinstance(error, ftplib.Error):
                    raise
                ftp.voidresp()
        assert ftp.nlst() == ["fits"]
        wait_until(lambda: not (site.root / ".uploading").exists())


def test_a_wrong_password_a_wrong_name_and_guessing_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with dropsite("ftp", tmp_path, attempts=3) as site:
        for name, password in (("cegid", "wrong-password"), ("nobody", PASSWORD), ("cegid", "")):
            with ftplib.FTP(timeout=10) as ftp:
                ftp.connect(HOST, site.port)
                with pytest.raises(ftplib.error_perm, match="530"):
                    ftp.login(name, password)
        with ftplib.FTP(timeout=10) as ftp, pytest.raises(ftplib.error_temp, match="421"):
            ftp.connect(HOST, site.port)
    assert "wrong-password" not in caplog.text
    assert PASSWORD not in caplog.text
    assert "kept out" in caplog.text


def test_the_number_of_connections_is_bounded(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, connections=2) as site, login(site) as one, login(site) as two:
        assert one.nlst() == two.nlst() == []
        with ftplib.FTP(timeout=10) as third, pytest.raises(ftplib.error_temp, match="421"):
            third.connect(HOST, site.port)
        one.quit()
        wait_until(lambda: connects(site))


def connects(site: Running) -> bool:
    with ftplib.FTP(timeout=10) as ftp:
        try:
            ftp.connect(HOST, site.port)
        except ftplib.error_temp:
            return False
    return True


def test_an_idle_client_is_sent_away(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path, idle=timedelta(seconds=1)) as site, login(site) as ftp:
        assert ftp.getmultiline().startswith("421")


def test_a_stop_ends_connections_and_keeps_what_was_on_its_way(tmp_path: Path) -> None:
    with dropsite("ftp", tmp_path) as site:
        ftp = login(site)
        data = begin(ftp, "STOR S.csv", b"half")
        wait_until(lambda: size(site.root / ".uploading" / "S.csv") == 4)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    data.close()
    ftp.close()
    assert (site.root / ".uploading" / "S.csv").read_bytes() == b"half"
    assert site.landed == []
    with dropsite("ftp", tmp_path) as site, login(site) as ftp:
        ftp.storbinary("APPE S.csv", io.BytesIO(b" and half"))
    assert (site.root / "S.csv").read_bytes() == b"half and half"


def test_passive_ports_and_public_address_are_as_configured(tmp_path: Path) -> None:
    with (
        dropsite("ftp", tmp_path, passive_ports=(50321, 50329), public_address="127.0.0.9") as site,
        login(site) as ftp,
    ):
        numbers = ftp.sendcmd("PASV").split("(")[1].split(")")[0].split(",")
        assert numbers[:4] == ["127", "0", "0", "9"]
        assert 50321 <= int(numbers[4]) * 256 + int(numbers[5]) <= 50329


def test_times_are_not_set_after_the_transfer_for_the_file_may_be_taken_by_then(site: Running) -> None:
    with login(site) as ftp:
        ftp.storbinary("STOR S.csv", io.BytesIO(b"x"))
        assert "MFMT" not in ftp.sendcmd("FEAT")
        with pytest.raises(ftplib.error_perm):
            ftp.sendcmd("MFMT 20200101000000 S.csv")
    assert (site.root / "S.csv").stat().st_mtime > time.time() - 60


# -- TLS


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Running]:
    with dropsite("ftps", tmp_path) as running:
        yield running


def tls(site: Running, **limits: ssl.TLSVersion) -> ftplib.FTP_TLS:
    context = ssl.create_default_context(cafile=str(site.keys / "tls" / "authority.pem"))
    for name, version in limits.items():
        setattr(context, name, version)
    ftp = ftplib.FTP_TLS(timeout=10, context=context, encoding="utf-8")
    ftp.connect(HOST, site.port)
    return ftp


def test_nobody_logs_in_or_sends_in_the_clear_where_there_is_a_certificate(secure: Running) -> None:
    with ftplib.FTP(timeout=10) as ftp:
        ftp.connect(HOST, secure.port)
        with pytest.raises(ftplib.error_perm, match="TLS"):
            ftp.login("cegid", PASSWORD)
    with tls(secure) as ftp:
        ftp.login("cegid", PASSWORD)
        with pytest.raises(ftplib.error_perm, match="TLS"):
            ftp.nlst()
        ftp.prot_p()
        ftp.storbinary("STOR S.csv", io.BytesIO(b"x" * 100_000))
    assert (secure.root / "S.csv").stat().st_size == 100_000
    assert secure.names() == ["S.csv"]


def test_a_client_that_dies_over_tls_leaves_no_file_that_looks_whole(secure: Running) -> None:
    ftp = tls(secure)
    ftp.login("cegid", PASSWORD)
    ftp.prot_p()
    ftp.voidcmd("TYPE I")
    data = ftp.transfercmd("STOR S.csv")
    data.sendall(b"half")
    wait_until((secure.root / ".uploading" / "S.csv").exists)
    vanish(ftp, data)
    time.sleep(0.5)
    assert secure.landed == []
    assert not (secure.root / "S.csv").exists()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_upload_over_tls_whose_data_connection_is_reset_is_no_file(secure: Running, version: ssl.TLSVersion) -> None:
    with tls(secure, minimum_version=version, maximum_version=version) as ftp:
        ftp.login("cegid", PASSWORD)
        ftp.prot_p()
        check_reset(secure, ftp, 100_000)


def test_an_upload_over_tls_that_ends_without_a_word_is_no_file(
    secure: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with tls(secure) as ftp:
        ftp.login("cegid", PASSWORD)
        ftp.prot_p()
        ftp.voidcmd("TYPE I")
        data = ftp.transfercmd("STOR S.csv")
        data.sendall(b"half")
        wait_until((secure.root / ".uploading" / "S.csv").exists)
        data.close()  # TCP ends in good order, TLS does not: anybody on the way could have done that
        with pytest.raises(ftplib.error_temp, match=r"426.*close_notify"):
            ftp.voidresp()
    assert secure.landed == []
    assert not (secure.root / "S.csv").exists()


def lftp(site: Running, *commands: str) -> str:
    script = "; ".join([
        "set net:timeout 10; set net:max-retries 2; set ftp:ssl-force yes; set ftp:ssl-protect-data yes",
        f"set ssl:ca-file {site.keys}/tls/authority.pem; set ssl:check-hostname no",
        f"open --env-password -u cegid -p {site.port} {HOST}",
        *commands,
    ])  # fmt: skip
    done = subprocess.run(
        [program("lftp", "lftp"), "--norc", "-c", script], env={**os.environ, "LFTP_PASSWORD": PASSWORD},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lftp_puts_resumes_lists_and_renames_over_tls(secure: Running, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(3_000_000))
    (secure.root / ".uploading").mkdir()
    (secure.root / ".uploading" / "large.bin").write_bytes(large.read_bytes()[:1_000_000])
    (tmp_path / "name with blank.csv").write_bytes(b"x")
    out = lftp(
        secure, f"put -c {large}", f"put '{tmp_path}/name with blank.csv'",
        "mv large.bin moved.bin", "cls -1",
    )  # fmt: skip
    assert (secure.root / "moved.bin").read_bytes() == large.read_bytes()
    assert out.split("\n")[:2] == ["moved.bin", "name with blank.csv"]
    assert secure.names() == ["large.bin", "moved.bin", "name with blank.csv"]
