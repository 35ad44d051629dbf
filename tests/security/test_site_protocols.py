"""What strangers and senders may try at the drop sites' protocols: nothing is learnt, slipped in, or reached."""

from __future__ import annotations

import ftplib
import os
import shutil
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import paramiko
import pytest

from tests.security.service import Service, running
from tests.security.site_clients import (
    EXTENDED,
    LSTAT,
    OPENDIR,
    READLINK,
    REALPATH,
    REMOVE,
    RENAME,
    SETSTAT,
    STAT,
    STATUS,
    SYMLINK,
    Sftp,
    ends,
    ftp,
    refuses,
    sftp,
    silent,
    ssh,
    string,
)
from tests.servers.places import HOST

LOGIN = 3.0


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    keys = f'login = "{LOGIN:g}s"\nattempts = 100'
    folder = tmp_path_factory.mktemp("service") / "shop"
    with running(folder, ftps=True, ftp_keys=keys, sftp_keys=keys) as started:
        yield started


def inbox(service: Service) -> Path:
    return service.shop.inbox.parent


def secured(sock: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock)


# -- TLS


def test_commands_in_the_clear_behind_auth_tls_are_dropped(service: Service) -> None:
    with silent(service.ftp) as sock:
        sock.recv(100)
        sock.sendall(b"AUTH TLS\r\nUSER injected\r\nSYST\r\nNOOP\r\n" + b"NOOP\r\n" * 100)
        assert sock.recv(26) == b"234 AUTH TLS successful.\r\n"
        with secured(sock) as control:
            control.settimeout(0.7)
            with pytest.raises(TimeoutError):
                control.recv(100)
            control.settimeout(5)
            control.sendall(b"STAT\r\n")
            said = b""
            while b"End of status" not in said:
                said += control.recv(4096)
            assert b"Waiting for username" in said
            assert b"215" not in said


def test_tls_that_never_comes_costs_no_time_and_ends(service: Service) -> None:
    with ftp(service, tls=True) as client:
        assert isinstance(client, ftplib.FTP_TLS)
        client.prot_p()
        with ExitStack() as sockets:
            for _ in range(5):
                one = sockets.enter_context(silent(service.ftp))
                one.recv(100)
                one.sendall(b"AUTH TLS\r\n")
                assert one.recv(100).startswith(b"234")
            data = sockets.enter_context(silent(int(client.makepasv()[1])))
            client.putcmd("NLST")
            assert client.getline().startswith("1")
            before = processor_seconds(service)
            time.sleep(1)
            assert processor_seconds(service) - before < 0.5
            assert ends(one, LOGIN + 2)
            data.close()
        assert client.getline()[:1] in "45"
        assert client.nlst() != []


def processor_seconds(service: Service) -> float:
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_data_goes_to_and_comes_from_the_clients_own_address_only(service: Service) -> None:
    with ftp(service, tls=True) as client:
        assert isinstance(client, ftplib.FTP_TLS)
        client.prot_p()
        for command in (
            "PORT 127,0,0,2,200,1", "EPRT |1|192.0.2.1|50000|", "PORT 127,0,0,1,0,22", "EPRT |1|127.0.0.1|80|",
            "EPRT |2|::1|50000|", "PORT 1,2,3", "EPRT ||||", "EPRT |1|a.example|50000|",
        ):  # fmt: skip
            with pytest.raises(ftplib.error_perm):
                client.sendcmd(command)
        port = int(client.makepasv()[1])
        with silent(port, "127.0.0.2") as foreign:
            assert ends(foreign, 2)
        assert client.sendcmd("NOOP").startswith("200")  # not a word of the foreigner came in between
        assert isinstance(client.nlst(), list)


# -- who has an account


def methods_offered(service: Service, name: str) -> set[str]:
    transport = paramiko.Transport((HOST, service.sftp))
    try:
        transport.start_client(timeout=10)
        with pytest.raises(paramiko.BadAuthenticationType) as caught:
            transport.auth_none(name)
        return set(caught.value.allowed_types)
    finally:
        transport.close()


def test_every_name_is_offered_the_same_ways_to_log_in(service: Service) -> None:
    assert methods_offered(service, "cegid") == methods_offered(service, "nobody") == methods_offered(service, "root")


def seconds_refused(service: Service, name: str) -> float:
    transport = paramiko.Transport((HOST, service.sftp))
    try:
        transport.start_client(timeout=10)
        begun = time.perf_counter()
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_password(name, "wrong")
        return time.perf_counter() - begun
    finally:
        transport.close()


def test_a_refusal_takes_as_long_for_every_name_and_says_the_same(service: Service) -> None:
    known = min(seconds_refused(service, "cegid") for _ in range(2))
    unknown = min(seconds_refused(service, f"nobody{number}") for number in range(2))
    assert known / 3 < unknown < known * 3
    replies = []
    for name in ("cegid", "nobody"):
        with silent(service.ftp) as sock:
            sock.recv(100)
            sock.sendall(b"AUTH TLS\r\n")
            sock.recv(100)
            with secured(sock) as control:
                control.sendall(f"USER {name}\r\n".encode())
                said = control.recv(100)
                control.sendall(b"PASS wrong\r\n")
                replies.append(said + control.recv(100))
    assert replies[0] == replies[1]
    assert replies[0].startswith(b"331")
    assert b"530" in replies[0]


# -- old cryptography


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("kex", ["diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group1-sha1"]),
        ("digests", ["hmac-sha1", "hmac-md5", "hmac-sha1-96"]),
        ("ciphers", ["aes128-cbc", "3des-cbc"]),
        ("compression", ["zlib@openssh.com", "zlib"]),
    ],
)
def test_no_old_cryptography_is_agreed_to(service: Service, kind: str, names: list[str]) -> None:
    offered = offered_by(service)[kind]
    assert offered
    assert not set(offered) & set(names)
    assert not [name for name in offered if name.endswith("sha1") or "cbc" in name or "md5" in name or "zlib" in name]
    assert "ssh-rsa" not in offered_by(service)["keys"]


def offered_by(service: Service) -> dict[str, list[str]]:
    """The lists of algorithms in the site's KEXINIT."""
    with silent(service.sftp) as sock:
        stream = sock.makefile("rb")
        stream.readline()
        sock.sendall(b"SSH-2.0-test\r\n")
        (length, padding) = struct.unpack(">IB", stream.read(5))
        body = stream.read(length - 1)[: length - 1 - padding]
        stream.close()
    lists, at = [], 17
    for _ in range(8):
        (size,) = struct.unpack(">I", body[at : at + 4])
        lists.append(body[at + 4 : at + 4 + size].decode().split(","))
        at += 4 + size
    names = ("kex", "keys", "ciphers", "ciphers back", "digests", "digests back", "compression", "compression back")
    return dict(zip(names, lists, strict=True))


def test_keys_are_not_exchanged_without_end(service: Service) -> None:
    with ssh(service) as transport:
        exchanged = 0
        with suppress(paramiko.SSHException, EOFError, OSError):
            for _ in range(40):
                transport.renegotiate_keys()
                exchanged += 1
        assert exchanged < 15


def test_keys_that_are_renewed_after_so_much_data_are_exchanged_as_often_as_that(service: Service) -> None:
    with ssh(service) as transport:
        client = paramiko.SFTPClient.from_transport(transport)
        assert client is not None
        with client.open("renewed.csv", "wb") as file:
            for _ in range(20):
                file.write(bytes(1 << 20))
                file.flush()
                transport.renegotiate_keys()
    assert (service.shop.inbox.parent / "renewed.csv").stat().st_size == 20 << 20


# -- what is ours, and names that are none

OURS = (".uploading", ".uploading/x", "a/../.uploading/x", ".cegid-daemon.owner", ".cegid-daemon.owner.1", ".x-12.gone")
ODD = ("a\nb", "a\tb", "x" * 300, "y/" * 3000 + "y", "../../../../etc/passwd", "\udcff\udcfe")


def test_no_command_of_ftp_reaches_what_is_ours(service: Service) -> None:
    folder = inbox(service)
    (folder / ".uploading").mkdir(exist_ok=True)
    for name in (".uploading/x", ".x-12.gone"):
        (folder / name).write_bytes(b"ours")
    with ftp(service, tls=True) as client:
        assert isinstance(client, ftplib.FTP_TLS)
        client.encoding = "utf-8"
        client.prot_p()
        for name in OURS:
            for command in ("RNFR", "DELE", "SIZE", "MDTM", "MLST", "CWD", "RMD", "MKD", "RETR", "STOR", "APPE"):
                with pytest.raises(ftplib.error_perm):
                    client.sendcmd(f"{command} {name}")
            with suppress(ftplib.error_perm):
                assert "ours" not in client.sendcmd(f"STAT {name}")
            client.sendcmd("MKD movable")
            assert client.sendcmd("RNFR movable").startswith("350")
            with pytest.raises(ftplib.error_perm):
                client.sendcmd(f"RNTO {name}")
            client.sendcmd("RMD movable")
        assert not [name for name in client.nlst() if name.startswith(".")]
        for command in ("SITE CHMOD 777 in", "SITE EXEC id", "MFMT 20200101000000 in", "SITE HELP " + "x" * 1500):
            with pytest.raises(ftplib.error_perm):
                client.sendcmd(command)
    assert (folder / ".uploading" / "x").read_bytes() == b"ours"
    assert (folder / ".x-12.gone").read_bytes() == b"ours"


def test_no_request_of_sftp_reaches_what_is_ours(service: Service) -> None:
    folder = inbox(service)
    (folder / ".uploading").mkdir(exist_ok=True)
    (folder / ".uploading" / "x").write_bytes(b"ours")
    (folder / "plain").write_bytes(b"plain")
    with sftp(service) as session:
        for name in OURS:
            path = string(name.encode())
            for flags in (1, 2 | 8 | 16, 2, 2 | 8 | 4):
                assert session.open(name.encode(), flags) is None
            for kind in (STAT, LSTAT, REMOVE, READLINK, REALPATH):
                assert session.ask(kind, path)[0] == STATUS
                assert status(session, kind, path) != 0
            assert status(session, SETSTAT, path + struct.pack(">I", 0)) != 0
            for old, new in ((path, string(b"out")), (string(b"plain"), path)):
                assert status(session, RENAME, old + new) != 0
                assert status(session, SYMLINK, old + new) != 0
                for extension in (b"posix-rename@openssh.com", b"hardlink@openssh.com"):
                    assert status(session, EXTENDED, string(extension) + old + new) != 0
            assert status(session, EXTENDED, string(b"lsetstat@openssh.com") + path + struct.pack(">I", 0)) != 0
            _, handle = session.ask(OPENDIR, path)
            assert status(session, 12, handle) != 0
    assert (folder / ".uploading" / "x").read_bytes() == b"ours"


def status(session: Sftp, kind: int, payload: bytes) -> int:
    found, answer = session.ask(kind, payload)
    return int(struct.unpack(">I", answer[:4])[0]) if found == STATUS else 0


def test_names_that_are_none_do_no_harm(service: Service) -> None:
    outside = {path.name for path in service.shop.folder.iterdir()}
    with ftp(service, tls=True, encoding="latin-1") as client, sftp(service) as session:
        assert isinstance(client, ftplib.FTP_TLS)
        client.prot_p()
        for name in ODD:
            raw = name.encode("utf-8", "surrogateescape")
            for kind in (STAT, REMOVE, OPENDIR, REALPATH):
                session.ask(kind, string(raw))
            session.ask(RENAME, string(raw) + string(raw + b"2"))
            if "\n" in name or "\t" in name:
                assert session.open(raw) is None
        for name in (b"a\x00b", b"a\rb", b"\xff\xfe", b"..", b"x" * 1500, b"a" + b"/b" * 700):
            assert client.sock is not None
            for command in (b"SIZE", b"STAT", b"MLST", b"CWD", b"RNFR", b"DELE", b"MKD"):
                client.sock.sendall(command + b" " + name + b"\r\n")
                assert client.getmultiline()[:1] in "25" or command == b"RNFR"
    assert {path.name for path in service.shop.folder.iterdir()} == outside
    for path in inbox(service).iterdir():
        if path.name.startswith(("\udcff", "a", "x")):
            shutil.rmtree(path)


def test_links_of_another_user_of_this_machine_lead_nowhere(service: Service) -> None:
    folder, secret = inbox(service), service.shop.folder / "operator"
    (folder / "link").symlink_to(secret)
    (folder / "tree").symlink_to(service.shop.folder)
    try:
        with ftp(service, tls=True) as client, sftp(service) as session:
            assert isinstance(client, ftplib.FTP_TLS)
            client.prot_p()
            for path in ("link", "tree/operator", "tree/in/../../operator/x"):
                assert refuses(lambda path=path: client.sendcmd(f"SIZE {path}"))
                assert refuses(lambda path=path: client.sendcmd(f"RETR {path}"))
                assert refuses(lambda path=path: client.sendcmd(f"DELE {path}"))
                assert session.open(path.encode(), 1) is None
                assert session.open(path.encode()) is None
                assert status(session, REMOVE, string(path.encode())) != 0
            assert not {"link", "tree"} & set(client.nlst())
        assert secret.exists()
    finally:
        (folder / "link").unlink()
        (folder / "tree").unlink()
