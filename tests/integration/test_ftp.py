"""FTP and FTPS beyond the contract: trust, logins, encodings, and what a server's peculiarities come to."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.endpoints import Endpoint, open_endpoint
from cegid_daemon.endpoints.ftp import FtpEndpoint
from cegid_daemon.endpoints.many import Move, Small, put_many, rename_many
from cegid_daemon.errors import Absent, Barred, ConfigurationError, EndpointError, Permanent, Transient, Untrusted
from cegid_daemon.model import EndpointSpec
from tests.servers import ftp
from tests.servers.ftp import Filesystem, FTPHandler
from tests.servers.places import HOST, Hidden, Place, free_port, make_certificates, wait_until
from tests.servers.proxy import proxy

SERVERS = {
    "vsftpd": ftp.vsftpd,
    "vsftpd-tls": partial(ftp.vsftpd, scheme="ftps"),
    "vsftpd-implicit": partial(ftp.vsftpd, scheme="ftps+implicit"),
    "pyftpdlib": ftp.in_process,
    "pyftpdlib-tls": partial(ftp.in_process, scheme="ftps"),
}


@pytest.fixture(params=SERVERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A server of each kind."""
    with SERVERS[request.param](_open_to_all(tmp_path)) as place:
        yield place


def _open_to_all(folder: Path) -> Path:
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    return folder


def lists(place: Place, **options: object) -> bool:
    endpoint = open_endpoint(place.spec(**options))
    try:
        endpoint.list("")
    finally:
        endpoint.close()
    return True


def works(endpoint: Endpoint) -> bool:
    try:
        endpoint.list("")
    except Transient:
        return False
    return True


def port_of(place: Place) -> int:
    return int(place.url.split(":")[2].split("/")[0])


# trust


@pytest.mark.parametrize("scheme", ["ftps", "ftps+implicit"])
def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path, scheme: str) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path), scheme=scheme) as place:
        with pytest.raises(Untrusted, match="certificate is not trusted"):
            lists(place, ca="")
        other = make_certificates(tmp_path / "other")
        with pytest.raises(Untrusted):
            lists(place, ca=str(other.authority))
        assert lists(place)


def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path), scheme="ftps") as place:
        elsewhere = place.url.replace(HOST, "localhost")
        with pytest.raises(Untrusted, match="certificate is not valid for 'localhost'"):
            open_endpoint(EndpointSpec("test", elsewhere, place.options)).list("")


def test_an_authority_that_cannot_be_read_is_a_configuration_fault(tmp_path: Path) -> None:
    spec = EndpointSpec("test", f"ftps://x@{HOST}:{free_port()}/", {"ca": str(tmp_path / "none")})
    with pytest.raises(ConfigurationError) as raised:
        open_endpoint(spec).list("")
    assert raised.value.where.field == "endpoint.test.ca"


def test_tls_where_the_server_has_none_is_told(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path)) as place:
        for scheme in ("ftps", "ftps+implicit"):
            with pytest.raises(Barred, match="TLS here"):
                open_endpoint(EndpointSpec("test", place.url.replace("ftp:", f"{scheme}:"), place.options)).list("")


def test_plain_ftp_where_the_server_demands_tls_is_told(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path), scheme="ftps") as place, pytest.raises(Barred):
        open_endpoint(EndpointSpec("test", place.url.replace("ftps:", "ftp:"))).list("")


def test_neither_bytes_nor_password_pass_in_the_clear(tmp_path: Path) -> None:
    with ftp.in_process(tmp_path, scheme="ftps") as place, proxy(port_of(place)) as line:
        url = place.url.replace(str(port_of(place)), str(line.port))
        endpoint = open_endpoint(EndpointSpec("test", url, place.options))
        endpoint.put("", "a.csv", [b"x"])
        endpoint.close()
        assert ftp.PASSWORD.encode() not in bytes(line.seen)
        assert b"AUTH TLS" in bytes(line.seen)


# logins


@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
def test_a_wrong_password_bars_the_way_and_is_not_shown(tmp_path: Path, scheme: str) -> None:
    with ftp.in_process(tmp_path, scheme=scheme) as place, pytest.raises(Barred) as raised:
        lists(place, password=Hidden("falsches-geheimnis"))
    assert "530" in raised.value.why
    assert "falsches-geheimnis" not in f"{raised.value}{raised.value.__cause__!r}"


def test_a_server_that_is_full_is_tried_again(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path), max_clients="1") as place:
        first, second = open_endpoint(place.spec()), open_endpoint(place.spec())
        wait_until(lambda: works(first))  # the server may still count the probe of the fixture
        with pytest.raises(Transient, match="421"):
            second.list("")
        first.close()
        wait_until(lambda: works(second))
        second.close()


def test_a_port_where_nobody_listens_is_transient() -> None:
    with pytest.raises(Transient, match="refused"):
        open_endpoint(EndpointSpec("test", f"ftp://x@{HOST}:{free_port()}/")).list("")


def test_a_host_that_is_not_known_is_transient() -> None:
    with pytest.raises(Transient, match="name is not known"):
        open_endpoint(EndpointSpec("test", "ftp://x@no-such-host.invalid/")).list("")


# peculiar servers


def test_active_mode(place: Place) -> None:
    (place.root / "a.csv").write_bytes(b"x" * 100)
    endpoint = open_endpoint(place.spec(passive=False))
    with endpoint.read("", "a.csv") as reading:
        assert b"".join(reading) == b"x" * 100
    endpoint.close()


def test_names_are_said_in_the_endpoint_s_encoding(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path)) as place:
        endpoint = open_endpoint(place.spec(encoding="cp1252"))
        endpoint.put("", "dépôt €.csv", [b"x"])
        assert os.listdir(os.fsencode(place.root)) == [b"d\xe9p\xf4t \x80.csv"]  # noqa: PTH208
        assert [entry.name for entry in endpoint.list("")] == ["dépôt €.csv"]
        with pytest.raises(Permanent, match="cannot be said"):
            endpoint.put("", "☃.csv", [b"x"])
        endpoint.close()


def test_a_name_with_a_line_break_is_listed_as_odd_and_never_said(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path)) as place:
        (place.root / "a\nDELE b.csv").write_bytes(b"x")
        (place.root / "b.csv").write_bytes(b"x")
        endpoint = open_endpoint(place.spec())
        assert {entry.name: entry.regular for entry in endpoint.list("")} == {"a\nDELE b.csv": False, "b.csv": True}
        with pytest.raises(Permanent, match="cannot be said"):
            endpoint.remove("", "a\nDELE b.csv")
        assert (place.root / "b.csv").exists()
        endpoint.close()


def test_a_second_slash_leads_to_the_server_s_root(tmp_path: Path) -> None:
    with ftp.in_process(tmp_path) as place:
        (place.root / "sub").mkdir()
        (place.root / "sub" / "a.csv").write_bytes(b"x")
        for path in ("sub", "/sub", "//sub"):
            url = f"ftp://cegid@{HOST}:{port_of(place)}/{path.removeprefix('/') if path == '/sub' else path}"
            endpoint = open_endpoint(EndpointSpec("test", url, place.options))
            assert [entry.name for entry in endpoint.list("")] == ["a.csv"]
            endpoint.close()


def test_an_endpoint_s_own_folder_that_is_gone_is_absent_and_not_made(tmp_path: Path) -> None:
    with ftp.in_process(tmp_path) as place:
        endpoint = open_endpoint(EndpointSpec("test", f"{place.url}gone", place.options))
        for call in (partial(endpoint.list, ""), partial(endpoint.make_folder, "in"), partial(endpoint.stat, "", "a")):
            with pytest.raises(Absent):
                call()
        assert list(place.root.iterdir()) == []
        endpoint.close()


def test_a_right_that_is_missing_is_transient_and_said(tmp_path: Path) -> None:
    with ftp.vsftpd(_open_to_all(tmp_path)) as place:
        (place.root / "secret.csv").write_bytes(b"x")
        (place.root / "secret.csv").chmod(0)
        endpoint = open_endpoint(place.spec())
        with pytest.raises(Transient, match="right"), endpoint.read("", "secret.csv"):
            pass
        place.root.chmod(0o555)
        with pytest.raises(Transient, match=r"553.*right"):
            endpoint.put("", "new.csv", [b"x"])
        place.root.chmod(0o777)
        endpoint.put("", "new.csv", [b"x"])
        endpoint.close()


def test_one_connection_serves_many_calls_and_is_replaced_when_it_died(place: Place) -> None:
    endpoint = FtpEndpoint.of(place.spec())
    endpoint.list("")
    with endpoint._pool.lend() as first:
        pass
    with endpoint._pool.lend() as again:
        assert again is first
    first.interrupt()
    with pytest.raises(Transient):
        endpoint.list("")
    endpoint.list("")
    with endpoint._pool.lend() as second:
        assert second is not first
    endpoint.close()


def test_an_idle_connection_is_asked_before_it_is_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cegid_daemon.endpoints.connections.ASK_AFTER", 0.0)
    endpoint = FtpEndpoint.of(place.spec())
    endpoint.list("")
    with endpoint._pool.lend() as first:
        pass
    first.interrupt()
    endpoint.list("")
    endpoint.close()


def test_a_download_goes_on_where_the_server_broke_it_off(tmp_path: Path) -> None:
    begun: list[int] = []

    class Breaking(io.FileIO):
        """A file of the server's that cannot be read beyond a mebibyte the first time."""

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == 0 or not begun:
                begun.append(self.tell())
            if len(begun) == 1 and self.tell() >= 1 << 20:
                begun.append(self.tell())
                raise OSError(5, "Input/output error")
            return super().read(size)

    class BadDisk(Filesystem):  # type: ignore[misc]
        def open(self, filename: str, mode: str) -> object:
            return Breaking(filename, "r")

    with ftp.in_process(tmp_path, abstracted_fs=BadDisk, use_sendfile=False) as place:
        body = bytes(range(256)) * 16384
        (place.root / "large.bin").write_bytes(body)
        endpoint = open_endpoint(place.spec())
        with endpoint.read("", "large.bin") as reading:
            assert b"".join(reading) == body
        assert begun == [0, 1 << 20]
        endpoint.close()


def test_a_disk_that_fills_up_is_transient(tmp_path: Path) -> None:
    class FullDisk:
        """A file of the server's that takes 100,000 bytes."""

        def __init__(self, path: str) -> None:
            self.name = path
            self.closed = False
            self._file = Path(path).open("wb")  # noqa: SIM115
            self._left = 100_000

        def write(self, body: bytes) -> None:
            self._left -= len(body)
            if self._left < 0:
                raise OSError(28, "No space left on device")
            self._file.write(body)

        def close(self) -> None:
            self.closed = True
            self._file.close()

    class SmallDisk(Filesystem):  # type: ignore[misc]
        def open(self, filename: str, mode: str) -> object:
            return FullDisk(filename)

    with ftp.in_process(tmp_path, abstracted_fs=SmallDisk) as place:
        endpoint = open_endpoint(place.spec())
        endpoint.put("", "fits.csv", [b"x" * 100_000])
        with pytest.raises(Transient):
            endpoint.put("", "large.tmp", [b"x" * 100_000] * 50)
        endpoint.put("", "fits.csv", [b"x" * 1000])
        endpoint.close()


def test_a_server_that_drops_what_is_sent_ahead_is_spoken_to_one_by_one(tmp_path: Path) -> None:
    def answer_and_drop_the_rest(handler: Any) -> None:
        handler.ac_in_buffer = b""
        FTPHandler.found_terminator(handler)

    with ftp.in_process(tmp_path, found_terminator=answer_and_drop_the_rest) as place:
        endpoint = FtpEndpoint.of(place.spec(timeout=timedelta(seconds=1)))
        names = [f"{number}.csv" for number in range(8)]
        assert put_many(endpoint, "", [Small(name, b"x") for name in names]) == [None] * 8
        moves = [Move(name, f"{name}.done") for name in names]
        assert any(isinstance(one, EndpointError) for one in rename_many(endpoint, "", "", moves, replace=True))
        left = [move for move in moves if (place.root / move.name).exists()]
        assert left
        assert rename_many(endpoint, "", "", left, replace=True) == [None] * len(left)
        assert sorted(path.name for path in place.root.iterdir()) == sorted(move.to_name for move in moves)
        endpoint.close()


@pytest.mark.parametrize("most", ["server", "reconnect"])
def test_many_files_go_over_one_connection_where_there_may_be_no_more(tmp_path: Path, most: str) -> None:
    options = {"reconnect": timedelta(minutes=5)} if most == "reconnect" else {}
    with ftp.vsftpd(_open_to_all(tmp_path), max_clients="1" if most == "server" else "0") as place:
        endpoint = FtpEndpoint.of(place.spec(**options))
        wait_until(lambda: works(endpoint))  # the server may still count the probe of the fixture
        names = [f"{number}.csv" for number in range(20)]
        assert put_many(endpoint, "", [Small(name, b"x") for name in names]) == [None] * 20
        assert sorted(path.name for path in place.root.iterdir()) == sorted(names)
        endpoint.close()
