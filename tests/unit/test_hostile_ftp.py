"""An FTP server that answers without end, in drops, or with what no server says: a plain trouble, soon."""

from __future__ import annotations

import fcntl
import resource
import socket
import ssl
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cegid_daemon.endpoints import ftp_conversation
from cegid_daemon.endpoints.ftp import FtpEndpoint
from cegid_daemon.endpoints.remote import Server
from cegid_daemon.errors import Barred, EndpointError, Transient, Untrusted
from tests.servers.hostile_ftp import MLSD_LINE, HostileFtp, dripping, endless, hostile_ftp
from tests.servers.places import HOST, Hidden, make_certificates

LARGEST = 120_000_000  # bytes of memory that any attack may take


@contextmanager
def attacked(scheme: str = "ftp", options: dict[str, Any] | None = None, **script: Any) -> Iterator[
    tuple[FtpEndpoint, HostileFtp]
]:  # fmt: skip
    with hostile_ftp(**script) as server:
        given: dict[str, Any] = {"password": Hidden("geheim"), "timeout": timedelta(seconds=2), **(options or {})}
        endpoint = FtpEndpoint(Server("evil", scheme, HOST, server.port, "cegid", "/", **given))
        try:
            yield endpoint, server
        finally:
            endpoint.close()


def read_all(endpoint: FtpEndpoint) -> int:
    with endpoint.read("", "S1.csv") as reading:
        return sum(map(len, reading))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ({"listing": endless(MLSD_LINE % b"S1.csv")}, "more than 250,000 entries"),
        ({"listing": endless(MLSD_LINE % (b"S" * 900))}, "more than 48 MiB"),
        ({"listing": endless(b"x")}, "a line of more than 256 KiB"),
        ({"listing": dripping(b"x")}, "no more than"),
        ({"replies": {"MLSD": endless(b"150-still going on\r\n")}}, "a reply has more than"),
        ({"replies": {"FEAT": endless(b"211-MLST\r\n")}}, "a reply has more than"),
        ({"replies": {"FEAT": endless(b"x")}}, "line without end"),
        ({"banner": endless(b"220-welcome\r\n")}, "a reply has more than"),
        ({"banner": endless(b"x")}, "line without end"),
        ({"replies": {"PASV": lambda: [b"227 (1,2,3,4,999,999)\r\n"], "EPSV": lambda: [b"229 (|||x|)\r\n"]}}, "227"),
        ({"replies": {"PASV": lambda: [b"227 \xb2\r\n"], "EPSV": lambda: [b"229 (|||999999|)\r\n"]}}, "229"),
        ({"replies": {"MLSD": lambda: [b"5\xb2\xb3 no\r\n"]}}, "no"),
        ({"replies": {"MLSD": lambda: [b"\x00\r\n"]}}, ""),
    ],
)
def test_an_answer_without_end_or_sense_is_a_trouble_of_the_server(script: dict[str, Any], why: str) -> None:
    with attacked(**script) as (endpoint, _server):
        tracemalloc.start()
        with pytest.raises(EndpointError) as raised:
            endpoint.list("")
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert why in str(raised.value)
    assert "ftp://cegid@" in str(raised.value)
    assert len(str(raised.value)) < 3000
    assert grown < LARGEST


def test_a_file_that_never_ends_is_given_up_soon_after_its_size() -> None:
    with attacked(body=endless(b"x" * 65536)) as (endpoint, _server), pytest.raises(Transient) as raised:
        read_all(endpoint)
    assert "sends more than the file has" in str(raised.value)
    assert "10 bytes" in str(raised.value)


def test_a_file_that_comes_in_drops_is_given_up() -> None:
    facts = b"type=file;size=1000000;modify=20261123074200; "
    with attacked(body=dripping(b"x", 0.2), facts=facts) as (endpoint, _server), pytest.raises(Transient) as raised:
        read_all(endpoint)
    assert "no more than" in str(raised.value)


def test_names_that_lead_elsewhere_and_numbers_that_no_file_has_are_told_and_never_taken() -> None:
    names = [b"../evil", b"/etc/passwd", b"a/b", b"..", b".", b"a\0b", b"S1.csv", b"C:evil.csv", b"n" * 3000]
    lines = [MLSD_LINE % name for name in names]
    lines += [
        b"type=file;size=" + b"9" * 31 + b"; huge\r\n",
        b"type=file;size=" + b"9" * 1000 + b"; endless\r\n", b"type=cdir;size=1; cdir\r\n",
        b"type=file;size=1;modify=00001301000000; year0\r\n", b"type=file;size=1;modify=99991231235959; late\r\n",
    ]  # fmt: skip
    with attacked(listing=lambda: lines) as (endpoint, _server):
        found = endpoint.list("")
    taken = {one.name: one.identity for one in found if one.regular}
    assert set(taken) == {"S1.csv", "C:evil.csv", "year0", "late"}
    assert taken["year0"].mtime_ns == taken["late"].mtime_ns == 0
    unread = " ".join(found.unread)  # type: ignore[attr-defined]
    for told in ("../evil", "/etc/passwd", "huge"):
        assert told in unread


def test_the_address_in_a_passive_answer_is_never_connected_to() -> None:
    with attacked() as (endpoint, server):
        assert read_all(endpoint) == 10  # the answer names 192.0.2.9
        assert "PASV" in server.words


def context(folder: Path, host: str = HOST) -> tuple[ssl.SSLContext, str]:
    made = make_certificates(folder, host)
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(made.certificate, made.key)
    return found, str(made.authority)


@pytest.mark.parametrize("word", ["AUTH", "PROT"])
def test_no_password_and_no_file_goes_in_the_clear_where_tls_is_refused(tmp_path: Path, word: str) -> None:
    tls, authority = context(tmp_path)
    refused = {word: lambda: [b"534 no TLS today\r\n"]}
    with attacked("ftps", {"ca": authority}, tls=tls, replies=refused) as (endpoint, server):
        with pytest.raises(Barred):
            endpoint.list("")
        assert ("PASS" in server.words) is (word == "PROT")
        assert not {"MLSD", "LIST", "RETR"} & set(server.words)


@pytest.mark.parametrize("host", ["other.example", "127.0.0.9"])
def test_the_password_waits_for_a_certificate_with_the_right_name(tmp_path: Path, host: str) -> None:
    tls, authority = context(tmp_path, host)
    with attacked("ftps", {"ca": authority}, tls=tls) as (endpoint, server):
        with pytest.raises(Untrusted):
            endpoint.list("")
        assert not {"USER", "PASS"} & set(server.words)


def test_the_password_waits_for_an_authority_that_is_trusted(tmp_path: Path) -> None:
    tls, _authority = context(tmp_path / "one")
    _other, authority = context(tmp_path / "other")
    with attacked("ftps", {"ca": authority}, tls=tls) as (endpoint, server):
        with pytest.raises(Untrusted):
            endpoint.list("")
        assert not {"USER", "PASS"} & set(server.words)


def test_a_server_with_old_tls_alone_is_barred(tmp_path: Path) -> None:
    tls, authority = context(tmp_path)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        tls.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with attacked("ftps", {"ca": authority}, tls=tls) as (endpoint, server):
        with pytest.raises(Barred, match="no longer safe"):
            endpoint.list("")
        assert not {"USER", "PASS"} & set(server.words)


def test_a_data_connection_in_the_clear_or_with_another_certificate_gives_nothing(tmp_path: Path) -> None:
    tls, authority = context(tmp_path / "one")
    other, _authority = context(tmp_path / "other")
    for script in ({"plain_data": True}, {"data_tls": other}):
        trust = {"ca": authority}
        with attacked("ftps", trust, tls=tls, **script) as (endpoint, _server), pytest.raises(EndpointError):
            endpoint.list("")


def test_what_was_slipped_in_ahead_of_tls_is_no_answer(tmp_path: Path) -> None:
    tls, authority = context(tmp_path)
    slipped = {"AUTH": lambda: [b"234 go on\r\n230 you are in\r\n250 ok\r\n"]}
    with attacked("ftps", {"ca": authority}, tls=tls, replies=slipped) as (endpoint, server):
        with pytest.raises(EndpointError):
            endpoint.list("")
        assert not {"USER", "PASS"} & set(server.words)


@pytest.mark.parametrize(
    "script", [{"listing": dripping(MLSD_LINE % b"S1.csv")}, {"replies": {"MLSD": dripping(b"150-still going on\r\n")}}]
)
def test_a_slow_server_is_no_standstill_of_the_daemon(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cegid_daemon.endpoints.bounds._REPLY_PATIENCE", 0.5)
    monkeypatch.setattr("cegid_daemon.endpoints.bounds._LISTING_PATIENCE", 0.5)
    beats: list[int] = []
    told = pytest.raises(EndpointError, match=r"was not complete after|no more than")
    with attacked(options={"beat": lambda: beats.append(1)}, **script) as (endpoint, _server), told:
        endpoint.list("")
    assert len(beats) > 15  # and one only for each answer before


def test_a_data_connection_may_have_any_descriptor() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    one, other = socket.socketpair()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with one, other, socket.socket(fileno=fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 1500)) as high:
            other.send(b"x")
            assert ftp_conversation._is_readable(high)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
