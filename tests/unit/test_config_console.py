"""What the configuration says of the console and of alerts, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.config import Config, Secret, load
from cegid_daemon.errors import ConfigurationError


def configured(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "cegid-daemon.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return load(path)


def faults(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, text)
    return "\n".join(map(str, caught.value.faults))


@pytest.mark.parametrize("listen", ["127.0.0.1:8470", "127.9.9.9:1", "[::1]:65535", "localhost:8470", ""])
def test_this_machine_needs_no_password(tmp_path, listen):
    assert configured(tmp_path, f'[console]\nlisten = "{listen}"').console.listen == listen


@pytest.mark.parametrize("listen", ["0.0.0.0:8470", "10.0.0.1:8470", "[::]:8470", "[2001:db8::1]:80"])
def test_other_machines_are_let_in_with_a_password_only(tmp_path, listen):
    assert "needs a password" in faults(tmp_path, f'[console]\nlisten = "{listen}"')
    config = configured(tmp_path, f'[console]\nlisten = "{listen}"\npassword = "secret"')
    assert config.console.password == Secret("secret")


@pytest.mark.parametrize(
    "listen",
    ["8470", ":8470", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "example.com:80", "999.1.1.1:80", "[::1:80"],
)
def test_what_is_no_address_is_refused(tmp_path, listen):
    assert "is no address to listen on" in faults(tmp_path, f'[console]\nlisten = "{listen}"')


def test_a_password_that_would_do_nothing_is_refused(tmp_path):
    assert "everybody may edit" in faults(tmp_path, '[console]\nlisten = "127.0.0.1:1"\nviewer_password = "x"')
    same = '[console]\nlisten = "127.0.0.1:1"\npassword = "x"\nviewer_password = "x"'
    assert "different passwords" in faults(tmp_path, same)


def test_alerts_take_addresses_as_texts_and_as_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "json://u:p@hook.example")
    config = configured(tmp_path, '[alert]\nurls = ["mailto://a@b.example", { env = "HOOK" }]\nquiet = "1h"')
    assert [url.reveal() for url in config.alert.urls] == ["mailto://a@b.example", "json://u:p@hook.example"]
    assert config.alert.quiet == timedelta(hours=1)
    assert set(config.alert.events) == {"failed", "held", "unsure", "refused", "rejected", "endpoint", "notice"}
    assert "hook.example" not in repr(config)


def test_an_event_nobody_knows_is_refused_and_no_address_is_told(tmp_path):
    told = faults(tmp_path, '[alert]\nurls = ["json://u:p@hook.example", 3]\nevents = ["sunrise"]')
    assert "sunrise" in told or "events" in told
    assert "hook.example" not in told
