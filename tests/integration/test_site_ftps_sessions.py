"""Our own FTPS site and TLS sessions: with real clients, where data connections must go on with one and where not."""

from __future__ import annotations

import ftplib
import io
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers.dropsite import PASSWORD, Running, dropsite
from tests.servers.places import HOST, program


class ReusingFtp(ftplib.FTP_TLS):
    """Goes on with the control connection's session, as the library does not by itself."""

    def ntransfercmd(self, cmd: str, rest: Any = None) -> tuple[Any, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.context.wrap_socket(connection, server_hostname=self.host, session=self.sock.session), size


def trusting(site: Running, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(site.keys / "tls" / "authority.pem")
    context.maximum_version = version
    return context


def login(site: Running, kind: type[ftplib.FTP_TLS], context: ssl.SSLContext) -> ftplib.FTP_TLS:
    client = kind(context=context, timeout=10, encoding="utf-8")
    client.connect(HOST, site.port)
    client.login("cegid", PASSWORD)
    client.prot_p()
    return client


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
@pytest.mark.parametrize("demanded", [False, True])
def test_a_client_that_reuses_the_session_is_served(tmp_path: Path, version: ssl.TLSVersion, demanded: bool) -> None:
    with (
        dropsite("ftps", tmp_path, tls_session_reuse=demanded) as site,
        login(site, ReusingFtp, trusting(site, version)) as client,
    ):
        for number in range(3):
            client.storbinary(f"STOR {number}.csv", io.BytesIO(b"a;b\n" * 50_000))
        assert client.nlst() == ["0.csv", "1.csv", "2.csv"]
    assert site.names() == ["0.csv", "1.csv", "2.csv"]


@VERSIONS
def test_a_client_that_does_not_is_refused_where_it_is_demanded_only(tmp_path: Path, version: ssl.TLSVersion) -> None:
    with dropsite("ftps", tmp_path) as site, login(site, ftplib.FTP_TLS, trusting(site, version)) as client:
        client.storbinary("STOR a.csv", io.BytesIO(b"x"))
    with dropsite("ftps", tmp_path, tls_session_reuse=True) as site:
        for command in ("STOR b.csv", "NLST"):
            with login(site, ftplib.FTP_TLS, trusting(site, version)) as client:
                with pytest.raises((ftplib.error_perm, OSError)) as caught:
                    if command == "NLST":
                        client.nlst()
                    else:
                        client.storbinary(command, io.BytesIO(b"x" * 100))
                if not isinstance(caught.value, ftplib.error_perm):
                    assert client.getmultiline().startswith("522")
                else:
                    assert str(caught.value).startswith("522")
        assert site.names() == []
        assert not (site.root / "b.csv").exists()


@VERSIONS
def test_the_session_of_another_client_does_not_count(tmp_path: Path, version: ssl.TLSVersion) -> None:
    with dropsite("ftps", tmp_path, tls_session_reuse=True) as site:
        context = trusting(site, version)
        with login(site, ReusingFtp, context) as one, login(site, ReusingFtp, context) as other:
            assert other.nlst() == []
            data, _ = ftplib.FTP.ntransfercmd(one, "STOR taken.csv")
            assert isinstance(other.sock, ssl.SSLSocket)
            with suppress(OSError):
                taking = context.wrap_socket(data, server_hostname=HOST, session=other.sock.session)
                with taking:
                    taking.sendall(b"from somebody else")
                    taking.unwrap()
            with pytest.raises(ftplib.error_perm, match="522"):
                one.voidresp()
        assert not (site.root / "taken.csv").exists()


@pytest.mark.parametrize("demanded", [False, True])
def test_curl_and_lftp_reuse_it_by_themselves(tmp_path: Path, demanded: bool) -> None:
    file = tmp_path / "S.csv"
    file.write_bytes(b"a;b\n" * 100)
    with dropsite("ftps", tmp_path / "site", tls_session_reuse=demanded) as site:
        authority = site.keys / "tls" / "authority.pem"
        curl = subprocess.run(
            [program("curl", "curl"), "-sS", "--ssl-reqd", "--cacert", str(authority), "-u", f"cegid:{PASSWORD}",
             "-T", str(file), f"ftp://{HOST}:{site.port}/curl.csv"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        script = (
            f"set ftp:ssl-force true; set ftp:ssl-protect-data true; set ssl:ca-file {authority};"
            " set ssl:check-hostname no; set net:max-retries 1;"
            f" open -p {site.port} -u 'cegid,{PASSWORD}' ftp://{HOST}; put {file} -o lftp.csv; cls -1"
        )
        lftp = subprocess.run(
            [program("lftp", "lftp"), "--norc", "-c", script], capture_output=True, text=True, timeout=30, check=False
        )
    assert curl.returncode == 0, curl.stderr
    assert lftp.returncode == 0, lftp.stderr
    assert site.names() == ["curl.csv", "lftp.csv"]
