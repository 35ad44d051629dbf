"""SFTP beyond the contract: who is trusted, how one logs in, and what a server's peculiarities come to."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.endpoints import open_endpoint
from cegid_daemon.endpoints.sftp import SftpEndpoint
from cegid_daemon.errors import Barred, ConfigurationError, Permanent, Transient, Untrusted
from cegid_daemon.model import EndpointSpec
from tests.servers import sftp
from tests.servers.places import HOST, Hidden, Place, free_port, make_key, program


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with sftp.openssh(tmp_path_factory.mktemp("sshd")) as place:
        yield place


@pytest.fixture(scope="module")
def asyncssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with sftp.in_process(tmp_path_factory.mktemp("asyncssh")) as place:
        yield place


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    left = [thread for thread in threading.enumerate() if type(thread).__module__.startswith("paramiko")]
    for thread in left:
        thread.join(5)
    assert [thread for thread in left if thread.is_alive()] == []


def lists(place: Place, **options: object) -> bool:
    """Whether the endpoint can be logged in to and listed."""
    endpoint = open_endpoint(place.spec(**options))
    try:
        endpoint.list("")
    finally:
        endpoint.close()
    return True


# host keys


def test_an_unknown_host_key_is_refused_with_the_line_to_add(sshd: Place, tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    with pytest.raises(Untrusted) as raised:
        lists(sshd, known_hosts=str(hosts))
    error = raised.value
    assert "host key" in error.what
    assert "SHA256:" in error.why
    line = error.remedy.partition("the line: ")[2]
    hosts.write_text(line + "\n")
    assert lists(sshd, known_hosts=str(hosts))


def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(sshd: Place, tmp_path: Path) -> None:
    key = Path(sshd.options["private_key"]).with_name("host_key.pub")
    printed = subprocess.run(
        [program("ssh-keygen", "openssh-client"), "-lf", str(key)], capture_output=True, check=True
    )
    with pytest.raises(Untrusted) as raised:
        lists(sshd, known_hosts=str(tmp_path / "none"))
    assert printed.stdout.split()[1].decode() in raised.value.why


def test_a_changed_host_key_is_refused_as_changed(sshd: Place, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    port = int(sshd.url.split(":")[2].split("/")[0])
    hosts = sftp.known_hosts(tmp_path, port, other.with_suffix(".pub"))
    with pytest.raises(Untrusted, match="changed"):
        lists(sshd, known_hosts=str(hosts))


def test_of_several_host_keys_the_known_one_is_asked_for(tmp_path: Path) -> None:
    rsa = make_key(tmp_path / "rsa", "rsa")
    with sftp.openssh(tmp_path / "sshd", f"HostKey {rsa}") as place:
        port = int(place.url.split(":")[2].split("/")[0])
        assert lists(place, known_hosts=str(sftp.known_hosts(tmp_path, port, rsa.with_suffix(".pub"))))
        assert lists(place)


def test_no_password_leaves_before_the_host_key_is_known(asyncssh_server: Place, tmp_path: Path) -> None:
    asked: list[str] = []

    class Watched(Hidden):
        def reveal(self) -> str:
            asked.append("revealed")
            return super().reveal()

    with pytest.raises(Untrusted):
        lists(asyncssh_server, known_hosts=str(tmp_path / "none"), password=Watched("geheim"))
    assert asked == []


# logins


def test_a_key_with_a_passphrase(sshd: Place, tmp_path: Path) -> None:
    key = Path(shutil.copy(sshd.options["private_key"], tmp_path / "key"))
    keygen = program("ssh-keygen", "openssh-client")
    subprocess.run([keygen, "-q", "-p", "-P", "", "-N", "geheim", "-f", str(key)], check=True)
    assert lists(sshd, private_key=str(key), passphrase=Hidden("geheim"))
    for wrong in (None, Hidden("falsch")):
        with pytest.raises(ConfigurationError) as raised:
            lists(sshd, private_key=str(key), passphrase=wrong)
        assert raised.value.where.field == "endpoint.test.private_key"
        assert "falsch" not in str(raised.value)


def test_a_key_file_that_is_not_there_is_a_configuration_fault(sshd: Place) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        lists(sshd, private_key="/nowhere/key")


def test_a_key_the_server_does_not_know_bars_the_way(sshd: Place, tmp_path: Path) -> None:
    with pytest.raises(Barred, match="refused the login"):
        lists(sshd, private_key=str(make_key(tmp_path / "stranger")))


def test_the_agent_s_keys_are_used_where_nothing_else_is_configured(
    sshd: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(Barred, match="no password, private_key or agent key"):
        lists(sshd, private_key="")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(
        [program("ssh-agent", "openssh-client"), "-D", "-a", str(socket)], stdout=subprocess.DEVNULL
    )
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        while not socket.exists():
            assert agent.poll() is None
        subprocess.run(["ssh-add", "-q", sshd.options["private_key"]], check=True, stderr=subprocess.DEVNULL)
        assert lists(sshd, private_key="")
    finally:
        agent.terminate()
        agent.wait()


def test_a_wrong_password_bars_the_way_and_is_not_shown(asyncssh_server: Place) -> None:
    with pytest.raises(Barred) as raised:
        lists(asyncssh_server, password=Hidden("falsches-geheimnis"))
    assert "falsches-geheimnis" not in f"{raised.value}{raised.value.__cause__!r}"


# peculiar servers


def test_a_server_that_knows_only_sha1_is_named_as_such(tmp_path: Path) -> None:
    old = "diffie-hellman-group14-sha1"
    with sftp.in_process(tmp_path / "server", kex_algs=[old]) as place, pytest.raises(Barred) as raised:
        lists(place)
    assert "no longer safe" in raised.value.what
    assert old in raised.value.why


def test_a_port_where_nobody_listens_is_transient(sshd: Place) -> None:
    spec = EndpointSpec("test", f"sftp://x@{HOST}:{free_port()}/", sshd.options)
    with pytest.raises(Transient, match="refused"):
        open_endpoint(spec).list("")


def test_a_port_where_another_protocol_speaks_is_told(sshd: Place, tmp_path: Path) -> None:
    import socket

    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        endpoint = open_endpoint(EndpointSpec("test", f"sftp://x@{HOST}:{port}/", {"timeout": timedelta(seconds=2)}))

        def answer() -> None:
            with listener.accept()[0] as peer:
                peer.sendall(b"220 ftp.example FTP server ready\r\n" * 200)

        server = threading.Thread(target=answer)
        server.start()
        with pytest.raises(Transient):
            endpoint.list("")
        server.join()


def test_an_old_server_whose_best_mac_is_sha1_is_still_spoken_to(tmp_path: Path) -> None:
    with sftp.openssh(tmp_path / "sshd", "MACs hmac-sha1", "Ciphers aes256-ctr") as place:
        (place.root / "in").mkdir()
        (place.root / "in" / "A.csv").write_bytes(b"a")
        opened = open_endpoint(place.spec())
        try:
            assert [one.name for one in opened.list("in")] == ["A.csv"]
        finally:
            opened.close()


def test_a_session_limit_of_the_server_is_transient_and_others_go_on(tmp_path: Path) -> None:
    with sftp.openssh(tmp_path / "sshd", "MaxSessions 1") as place:
        (place.root / "a.csv").write_bytes(b"x" * 100)
        endpoint = open_endpoint(place.spec(timeout=timedelta(seconds=1)))
        with endpoint.read("", "a.csv") as reading:
            with pytest.raises(Transient, match="in use"):
                endpoint.list("")
            assert b"".join(reading) == b"x" * 100
        endpoint.list("")
        endpoint.close()


def test_one_connection_serves_many_calls_and_is_replaced_when_it_died(sshd: Place) -> None:
    endpoint = SftpEndpoint.of(sshd.spec())
    endpoint.list("")
    link = endpoint._sessions._link
    endpoint.list("")
    assert endpoint._sessions._link is link
    assert link is not None
    link._transport.sock.close()
    with pytest.raises(Transient):
        for _ in range(2):
            endpoint.list("")
    endpoint.list("")
    assert endpoint._sessions._link is not link
    endpoint.close()


def test_names_are_read_in_the_endpoint_s_encoding(sshd: Place) -> None:
    for encoding in ("cp1252", "latin-1"):
        endpoint = open_endpoint(sshd.spec(encoding=encoding))
        endpoint.put("", "dépôt.csv", [b"x"])
        assert os.fsencode(next(sshd.root.iterdir())) == os.fsencode(sshd.root) + b"/d\xe9p\xf4t.csv"
        assert [entry.name for entry in endpoint.list("")] == ["dépôt.csv"]
        with pytest.raises(Permanent, match="cannot be written in"):
            endpoint.put("", "☃.csv", [b"x"])
        endpoint.remove("", "dépôt.csv")
        endpoint.close()


def test_a_pipe_on_the_server_is_not_opened(sshd: Place) -> None:
    os.mkfifo(sshd.root / "pipe")
    endpoint = open_endpoint(sshd.spec())
    assert [(entry.name, entry.regular) for entry in endpoint.list("")] == [("pipe", False)]
    with pytest.raises(Exception, match="no regular file"), endpoint.read("", "pipe"):
        pass
    endpoint.close()
    (sshd.root / "pipe").unlink()


def test_the_home_is_named_by_a_tilde(sshd: Place) -> None:
    home = Path.home() / ".cegid-daemon-test-of-the-home"
    home.mkdir(exist_ok=True)
    try:
        (home / "a.csv").write_bytes(b"x")
        url = sshd.url.partition(str(sshd.root))[0] + f"/~/{home.name}"
        endpoint = open_endpoint(EndpointSpec("test", url, sshd.options))
        assert [entry.name for entry in endpoint.list("")] == ["a.csv"]
        endpoint.close()
    finally:
        shutil.rmtree(home)
