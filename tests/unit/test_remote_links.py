"""Urls and options of remote endpoints, and who is trusted by a known_hosts file."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.endpoints import open_endpoint
from cegid_daemon.endpoints.ftp import FtpEndpoint
from cegid_daemon.endpoints.remote import Pace, Server
from cegid_daemon.endpoints.sftp import SftpEndpoint
from cegid_daemon.endpoints.sftp_session import SftpSessions
from cegid_daemon.endpoints.trust import HostKey, KnownHosts
from cegid_daemon.endpoints.wrapping import Paced, Resuming
from cegid_daemon.errors import ConfigurationError, Untrusted
from cegid_daemon.model import EndpointSpec

KEY = HostKey("ssh-ed25519", base64.b64encode(b"the key").decode())
OTHER = HostKey("ssh-ed25519", base64.b64encode(b"another key").decode())


class Masked:
    def reveal(self) -> str:
        return "geheim"

    def __repr__(self) -> str:
        return "***"


def server(url: str, **options: object) -> Server:
    return Server.of(EndpointSpec("cegid", url, options))


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("sftp://aurora@cegid.example/exchange", "sftp://aurora@cegid.example:22/exchange"),
        ("sftp://aurora@cegid.example:22/exchange/", "sftp://aurora@cegid.example:22/exchange"),
        ("ftp://CEGID.example", "ftp://cegid.example:21"),
        ("ftps://a%40b@h/x%20y", "ftps://a@b@h:21/x y"),
        ("ftps+implicit://u@h/", "ftps+implicit://u@h:990"),
        ("sftp://u@[::1]:2222/x", "sftp://u@[::1]:2222/x"),
    ],
)
def test_one_place_has_one_name(url: str, where: str) -> None:
    assert server(url).where == where


@pytest.mark.parametrize(
    ("url", "options", "key"),
    [
        ("sftp:///x", {}, "url"),
        ("sftp://u@h:port/x", {}, "url"),
        ("sftp://u:geheim@h/x", {}, "url"),
        ("ftp://u@h/x?y", {}, "url"),
        ("ftp://u@h/", {"encoding": "utf-9"}, "encoding"),
        ("ftp://u@h/", {"pace": "many"}, "pace"),
        ("ftp://u@h/", {"passiv": True}, "passiv"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(url: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        server(url, **options)
    assert raised.value.where.field == f"endpoint.cegid.{key}"
    assert "geheim" not in str(raised.value)


def test_an_sftp_url_without_a_user_is_a_configuration_fault() -> None:
    with pytest.raises(ConfigurationError, match="it names no user"):
        open_endpoint(EndpointSpec("cegid", "sftp://h/x"))


def test_blank_options_are_no_options() -> None:
    made = server("ftp://u@h/", pace="", ca="", password=None, timeout=timedelta(seconds=3))
    assert (made.pace, made.password, made.seconds) == (None, None, 3.0)


def test_no_secret_is_shown() -> None:
    assert "geheim" not in repr(server("ftp://u@h/", password=Masked(), passphrase=Masked()))


@pytest.mark.parametrize(
    ("text", "pace"), [("20/min", Pace(20, timedelta(minutes=1))), ("1/h", Pace(1, timedelta(hours=1)))]
)
def test_a_pace_is_files_in_a_time(text: str, pace: Pace) -> None:
    assert Pace.of(text) == pace


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sftp://u@h", b"/in/a"),
        ("sftp://u@h/", b"/in/a"),
        ("sftp://u@h/x/", b"/x/in/a"),
        ("sftp://u@h/~", b"in/a"),
        ("sftp://u@h/~/", b"in/a"),
        ("sftp://u@h/~/x", b"x/in/a"),
        ("sftp://u@h/~x", b"/~x/in/a"),
    ],
)
def test_an_sftp_path_is_absolute_or_below_the_home(url: str, path: bytes) -> None:
    assert SftpSessions(server(url)).path("in", "a") == path


def test_the_home_itself_is_a_dot() -> None:
    assert SftpSessions(server("sftp://u@h/~")).path("") == b"."


def test_remote_endpoints_resume_and_keep_their_pace() -> None:
    plain = open_endpoint(EndpointSpec("cegid", "sftp://u@h/"))
    paced = open_endpoint(EndpointSpec("cegid", "ftp://u@h/", {"pace": "20/min"}))
    assert isinstance(plain, Resuming)
    assert isinstance(plain._inner, SftpEndpoint)
    assert isinstance(paced, Paced)
    assert isinstance(paced._inner, Resuming)
    assert isinstance(paced._inner._inner, FtpEndpoint)
    assert paced.where == "ftp://u@h:21"


# known_hosts


def hashed(host: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, host.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    "names",
    [
        "cegid.example",
        "other,cegid.example",
        "CEGID.example",
        "*.example",
        "cegid.exampl?",
        hashed("cegid.example"),
    ],
)
def test_a_line_that_names_the_host_trusts_its_key(names: str) -> None:
    text = f"# a comment\n\n{names} {KEY.kind} {KEY.body} who wrote it\n"
    KnownHosts.parse(text, "cegid.example", "f").check(KEY, "sftp://…")


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"# cegid.example {KEY.kind} {KEY.body}",
        f"other.example {KEY.kind} {KEY.body}",
        f"!cegid.example,*.example {KEY.kind} {KEY.body}",
        f"[cegid.example]:2222 {KEY.kind} {KEY.body}",
        f"{hashed('other.example')} {KEY.kind} {KEY.body}",
        f"|1|nonsense {KEY.kind} {KEY.body}",
        f"@cert-authority cegid.example {KEY.kind} {KEY.body}",
        "cegid.example ssh-ed25519",
    ],
)
def test_any_other_line_does_not(line: str) -> None:
    with pytest.raises(Untrusted, match="not known") as raised:
        KnownHosts.parse(line, "cegid.example", "/etc/known_hosts").check(KEY, "sftp://…")
    assert raised.value.why == f"ssh-ed25519 {KEY.fingerprint}"
    assert raised.value.remedy.endswith(f"add to /etc/known_hosts the line: cegid.example {KEY.kind} {KEY.body}")


def test_another_key_of_the_host_is_a_change_and_both_are_shown() -> None:
    known = KnownHosts.parse(f"cegid.example {OTHER.kind} {OTHER.body}", "cegid.example", "f")
    with pytest.raises(Untrusted, match="changed") as raised:
        known.check(KEY, "sftp://…")
    assert OTHER.fingerprint in raised.value.remedy
    assert KEY.fingerprint in raised.value.why


def test_a_revoked_key_is_refused_even_where_it_is_known() -> None:
    line = f"cegid.example {KEY.kind} {KEY.body}"
    with pytest.raises(Untrusted, match="revoked"):
        KnownHosts.parse(f"{line}\n@revoked * {KEY.kind} {KEY.body}", "cegid.example", "f").check(KEY, "sftp://…")


def test_another_port_is_another_host(tmp_path: Path) -> None:
    hosts = tmp_path / "known_hosts"
    hosts.write_text(f"[h]:2222 {KEY.kind} {KEY.body}\n")
    assert KnownHosts.read(server("sftp://u@h:2222/", known_hosts=str(hosts))).keys == (KEY,)
    assert KnownHosts.read(server("sftp://u@h/", known_hosts=str(hosts))).keys == ()


def test_a_known_hosts_file_that_is_a_folder_is_a_configuration_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        KnownHosts.read(server("sftp://u@h/", known_hosts=str(tmp_path)))
    assert raised.value.where.field == "endpoint.cegid.known_hosts"
