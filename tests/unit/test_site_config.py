"""The drop sites in the configuration: every fault at once, and what nobody may offer to a network."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon import passwords
from cegid_daemon.config import Config, load
from cegid_daemon.errors import ConfigurationError
from tests.servers.places import make_certificates, make_key

HASH = passwords.hashed("geheim", salt=bytes(16))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYrR0Kq3mG6hJjHq9Tk0pW9c1F2x7QWvC1lKp8M3nVd cegid"
USER = f'users.cegid = {{ password = "{HASH}", folder = "inbox" }}\n'


def configured(folder: Path, text: str) -> Config:
    path = folder / "cegid-daemon.toml"
    path.write_text(text)
    path.chmod(0o600)
    return load(path)


def faults(folder: Path, text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        configured(folder, text)
    return {fault.where.field: str(fault) for fault in caught.value.faults}


def test_a_site_is_off_by_default(tmp_path: Path) -> None:
    assert configured(tmp_path, "").sites == ()


def test_sites_become_frozen_objects_with_absolute_folders(tmp_path: Path) -> None:
    key = make_key(tmp_path / "host_key")
    text = f'[site.ftp]\nlisten = "127.0.0.1:2121"\npassive_ports = "50000-50009"\n{USER}'
    text += f'[site.sftp]\nlisten = "[::1]:2222"\nhost_key = "host_key"\nidle = "1m"\n{USER}'
    ftp, sftp = configured(tmp_path, text).sites
    assert (ftp.kind, ftp.host, ftp.port, ftp.passive_ports) == ("ftp", "127.0.0.1", 2121, (50000, 50009))
    assert (sftp.kind, sftp.host, sftp.port, sftp.host_key) == ("sftp", "::1", 2222, str(key))
    assert (ftp.users[0].name, ftp.users[0].folder) == ("cegid", str(tmp_path / "inbox"))
    assert ftp.users[0].password.reveal() == HASH
    assert HASH not in repr(ftp)
    assert (ftp.max_size, ftp.connections, ftp.attempts) == (2 * 10**9, 30, 5)
    assert sftp.idle == timedelta(minutes=1)


def test_beyond_this_machine_a_certificate_is_needed(tmp_path: Path) -> None:
    found = faults(tmp_path, f'[site.ftp]\nlisten = "0.0.0.0:21"\n{USER}')
    assert "needs a certificate" in found["site.ftp.certificate"]
    both = make_certificates(tmp_path / "tls").both
    (site,) = configured(tmp_path, f'[site.ftp]\nlisten = "0.0.0.0:21"\ncertificate = "{both}"\n{USER}').sites
    assert site.certificate == str(both)


def test_every_fault_of_both_sites_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    text = """
[site.ftp]
listen = "127.0.0.1:2121"
certificate = "bad.pem"
passive_ports = "9-1"
users.plain = { password = "geheim", folder = "inbox" }
[site.sftp]
listen = "127.0.0.1"
max_sice = 3
"""
    assert set(faults(tmp_path, text)) == {
        "site.ftp.passive_ports", "site.ftp.users.plain.password", "site.sftp.listen", "site.sftp.host_key",
        "site.sftp.max_sice",
    }  # fmt: skip
    text = f"""
[site.ftp]
listen = "127.0.0.1:2121"
certificate = "bad.pem"
users.key = {{ keys = ["{KEY}"], folder = "in" }}
users.config = {{ password = "{HASH}", folder = "." }}
users.state = {{ password = "{HASH}", folder = "var/spool" }}
[site.sftp]
listen = "127.0.0.1:2121"
host_key = "bad.pem"
users.nobody = {{ folder = "inbox" }}
users.key = {{ keys = ["ssh-ed25519 nonsense"], folder = "inbox" }}
"""
    found = faults(tmp_path, text)
    assert set(found) == {
        "site.ftp.certificate", "site.ftp.users.key.keys", "site.ftp.users.key", "site.ftp.users.config.folder",
        "site.ftp.users.state.folder", "site.sftp.listen", "site.sftp.host_key", "site.sftp.users.nobody",
        "site.sftp.users.key.keys[1]",
    }  # fmt: skip
    assert "could reach the configuration" in found["site.ftp.users.config.folder"]


def test_a_site_without_users_is_a_fault(tmp_path: Path) -> None:
    assert "no user" in faults(tmp_path, '[site.ftp]\nlisten = "127.0.0.1:0"\n')["site.ftp.users"]


def test_a_plain_password_is_refused_without_being_said(tmp_path: Path) -> None:
    text = '[site.ftp]\nlisten = "127.0.0.1:0"\nusers.cegid = { password = "geheim-123", folder = "inbox" }\n'
    fault = faults(tmp_path, text)["site.ftp.users.cegid.password"]
    assert "hash-password" in fault
    assert "geheim-123" not in fault


def test_the_bounds_of_a_site_have_keys(tmp_path: Path) -> None:
    text = f'[site.ftp]\nlisten = "127.0.0.1:2121"\nlogin = "5s"\nconnections_per_address = 3\n{USER}'
    (site,) = configured(tmp_path, text).sites
    assert (site.login, site.connections_per_address) == (timedelta(seconds=5), 3)
    (site,) = configured(tmp_path, f'[site.ftp]\nlisten = "127.0.0.1:2121"\n{USER}').sites
    assert (site.login, site.connections_per_address, site.tls_session_reuse) == (timedelta(seconds=20), 20, False)


@pytest.mark.parametrize(
    ("keys", "both"),
    [
        ("", (30, 20)),
        ("connections = 50", (50, 50)),
        ("connections = 5", (5, 5)),
        ("connections_per_address = 7", (30, 7)),
    ],
)
def test_clients_behind_one_address_have_the_connections_somebody_set(
    tmp_path: Path, keys: str, both: tuple[int, int]
) -> None:
    (site,) = configured(tmp_path, f'[site.ftp]\nlisten = "127.0.0.1:2121"\n{keys}\n{USER}').sites
    assert (site.connections, site.connections_per_address) == both


def test_data_connections_without_the_session_are_warned_of_beyond_this_machine(tmp_path: Path) -> None:
    both = make_certificates(tmp_path / "tls").both
    text = f'[site.ftp]\nlisten = "ADDRESS:2121"\ncertificate = "{both}"\n'
    warned = [
        any("tls_session_reuse" in one for one in configured(tmp_path, given + USER).warnings)
        for given in (
            text.replace("ADDRESS", "0.0.0.0"),
            text.replace("ADDRESS", "0.0.0.0") + "tls_session_reuse = true\n",
            text.replace("ADDRESS", "127.0.0.1"),
        )
    ]
    assert warned == [True, False, False]
    plain = f'[site.ftp]\nlisten = "127.0.0.1:2121"\ntls_session_reuse = true\n{USER}'
    assert "no TLS" in faults(tmp_path, plain)["site.ftp.tls_session_reuse"]


def test_fewer_passive_ports_than_connections_are_warned_of(tmp_path: Path) -> None:
    text = '[site.ftp]\nlisten = "127.0.0.1:2121"\npassive_ports = "50000-50009"\n'
    assert any("passive_ports has 10 ports" in one for one in configured(tmp_path, text + USER).warnings)
    enough = configured(tmp_path, f"{text}connections = 10\n{USER}")
    assert not any("passive_ports" in one for one in enough.warnings)
