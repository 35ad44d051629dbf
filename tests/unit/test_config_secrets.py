"""Secrets come from outside the file, and nothing shows them."""

import copy
import pickle

import pytest
from test_config import BASE, configured

from cegid_daemon.config import Secret, later
from cegid_daemon.errors import ConfigurationError

TEXT = "hunter2-geheim"


@pytest.fixture(autouse=True)
def _remote_endpoints(monkeypatch):
    monkeypatch.setattr(later, "KEYS", ())


def token(folder, source, mode=0o644):
    text = BASE + f'[endpoint.shop]\nurl = "https://api.example/1.4"\ntoken = {source}\n'
    path = folder / "cegid-daemon.toml"
    path.write_text("")
    path.chmod(mode)
    return configured(folder, text).endpoints["shop"].options["token"]


def test_a_secret_is_read_from_a_credential(tmp_path, monkeypatch):
    (tmp_path / "aurora").write_text(TEXT + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert token(tmp_path, '{ credential = "aurora" }').reveal() == TEXT


def test_a_secret_is_read_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AURORA_TOKEN", TEXT)
    assert token(tmp_path, '{ env = "AURORA_TOKEN" }').reveal() == TEXT


def test_a_secret_is_read_from_a_file_beside_the_configuration_without_its_line_end(tmp_path):
    (tmp_path / "token.txt").write_bytes(TEXT.encode() + b"\r\n")
    assert token(tmp_path, '{ file = "token.txt" }').reveal() == TEXT


def test_a_plain_secret_is_taken_only_from_a_private_file(tmp_path):
    assert token(tmp_path, f'"{TEXT}"', mode=0o600).reveal() == TEXT
    with pytest.raises(ConfigurationError) as caught:
        token(tmp_path, f'"{TEXT}"', mode=0o640)
    (fault,) = caught.value.faults
    assert "chmod 600" in str(fault)
    assert TEXT not in str(fault)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{ credential = "none" }', "cannot be read"),
        ('{ credential = "../x" }', "is no name of a credential"),
        ('{ env = "CEGID_DAEMON_NONE" }', "is not set"),
        ('{ file = "none" }', "cannot be read"),
        ('{ file = "empty" }', "is empty"),
        ('{ file = "latin" }', "not UTF-8"),
        ('{ vault = "x" }', "no source of a secret"),
        ('{ env = "A", file = "B" }', "exactly one source"),
        ("5", "exactly one source"),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_fault_of_its_key(tmp_path, monkeypatch, source, said):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ConfigurationError) as caught:
        token(tmp_path, source)
    (fault,) = caught.value.faults
    assert fault.where.field == "endpoint.shop.token"
    assert said in str(fault)


def test_a_credential_without_its_folder_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        token(tmp_path, '{ credential = "x" }')
    assert "LoadCredential=" in str(caught.value.faults[0])


def test_nothing_shows_a_secret():
    secret = Secret(TEXT)
    shown = [repr(secret), str(secret), f"{secret:>40}", repr({"token": secret}), "%s" % (secret,)]  # noqa: UP031
    assert not any(TEXT in text for text in shown)
    assert secret == Secret(TEXT) != Secret("other")
    for take in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            take(secret)


def test_an_option_that_means_nothing_to_the_scheme_is_refused(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, '[endpoint.x]\nurl = "file:x"\npassive = false\n')
    assert "'passive' means nothing to a file: endpoint" in str(caught.value.faults[0])


LOCKED = '[endpoint.x]\nurl = "sftp://u@h/"\npassphrase = { file = "lock" }\n'


def test_a_private_key_has_its_passphrase_from_a_secret(tmp_path):
    (tmp_path / "lock").write_text("geheim\n")
    (tmp_path / "lock").chmod(0o600)
    (tmp_path / "key").write_text("")
    config = configured(tmp_path, LOCKED + 'private_key = "key"\n')
    assert config.endpoints["x"].options["passphrase"].reveal() == "geheim"
    assert "geheim" not in repr(config)


def test_a_passphrase_without_a_key_is_refused(tmp_path):
    (tmp_path / "lock").write_text("geheim\n")
    (tmp_path / "lock").chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, LOCKED)
    (fault,) = caught.value.faults
    assert (fault.where.field, fault.why) == ("endpoint.x.passphrase", "there is no private_key")
