"""What our own SFTP site offers: nothing old, whatever its host key is."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from cegid_daemon.sites.sftp_connection import options_of
from tests.servers.places import make_key


def test_an_rsa_host_key_signs_without_sha1(tmp_path: Path) -> None:
    options = options_of(str(make_key(tmp_path / "key", "rsa")), 20, asyncssh.SSHServer)
    assert set(options.server_host_keys) == {b"rsa-sha2-256", b"rsa-sha2-512"}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_other_host_keys_are_offered_as_they_are(tmp_path: Path, kind: str) -> None:
    options = options_of(str(make_key(tmp_path / "key", kind)), 20, asyncssh.SSHServer)
    assert len(options.server_host_keys) == 1


def test_nothing_old_is_offered(tmp_path: Path) -> None:
    options = options_of(str(make_key(tmp_path / "key")), 20, asyncssh.SSHServer)
    offered = [
        name.decode() for names in (options.kex_algs, options.encryption_algs, options.mac_algs, options.signature_algs)
        for name in names
    ]  # fmt: skip
    assert not [name for name in offered if name.endswith(("sha1", "ssh-rsa", "ssh-dss")) or "cbc" in name]
    assert not [name for name in offered if "group-exchange" in name or "group1-" in name]
    assert "curve25519-sha256" in offered
    assert options.compression_algs == [b"none"]
