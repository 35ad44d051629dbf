"""Warnings of files that hold secrets, or decide what the daemon does, and are open to others."""

from __future__ import annotations

import os

import pytest

from cegid_daemon.config.loose_files import loose_files

NAMED = {
    "console": {"password": {"file": "password"}},
    "site": {"sftp": {"host_key": "host_key"}, "ftp": {"users": {"cegid": {"password": {"credential": "sender"}}}}},
    "alert": {"urls": [{"file": "webhook"}]},
    "endpoint": {"far": {"certificate": "chain.pem", "key": "key.pem"}},
}
SECRETS = ("password", "host_key", "credentials/sender", "webhook", "key.pem")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "credentials").mkdir()
    for name in (*SECRETS, "chain.pem", "cegid-daemon.toml"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "chain.pem").chmod(0o644)
    return tmp_path


def warned(folder, document=NAMED):
    return loose_files(folder / "cegid-daemon.toml", document, {"CREDENTIALS_DIRECTORY": str(folder / "credentials")})


def test_private_files_are_not_warned_of(folder):
    assert warned(folder) == []


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("mode", [0o644, 0o602, 0o601])
def test_a_secret_that_everybody_may_read_or_change_is_warned_of(folder, name, mode):
    (folder / name).chmod(mode)
    assert len(told := warned(folder)) == 1
    assert str(folder / name) in told[0]
    assert "chmod 600" in told[0]


@pytest.mark.parametrize(("mode", "warnings"), [(0o640, 0), (0o660, 1)])
def test_another_group_may_read_a_secret_but_not_change_it(folder, monkeypatch, mode, warnings):
    (folder / "password").chmod(mode)
    monkeypatch.setattr(os, "getegid", lambda: -1)
    assert len(warned(folder)) == warnings


@pytest.mark.parametrize(("mode", "warnings"), [(0o644, 0), (0o646, 1), (0o666, 1)])
def test_a_configuration_that_others_may_write_is_warned_of(folder, mode, warnings):
    (folder / "cegid-daemon.toml").chmod(mode)
    assert len(warned(folder)) == warnings


def test_what_is_not_there_is_not_warned_of(tmp_path):
    assert warned(tmp_path) == []
