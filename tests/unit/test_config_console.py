"""What the configuration says of the console and of alerts, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.config import Config, Secret, load
from cegid_daemon.errors import ConfigurationError
from tests.servers.places import make_certificates


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


PLAIN = (
    "mailto://a@b.example", "mailto:a@b.example", "mailto://h:25/x@y.example", "json://h.example/", "xmls://u@h:80/a@b",
    "json://h:8080/path?format=text",
)  # fmt: skip
SECRET = (
    "mailto://user:geheim@b.example", "mailtos://b.example?user=x&pass=geheim", "json://u:gehei/m@h",
    "json://h?+X-Token=geheim",
    "slack://geheim/B/C", "https://hooks.slack.com/services/geheim", "tgram://1:geheim/3", "gotify://h/geheim",
    "json://h, discord://1/geheim",
)  # fmt: skip


@pytest.mark.parametrize("url", PLAIN)
def test_an_alert_address_without_a_secret_may_stand_in_any_configuration(tmp_path, url):
    config = configured(tmp_path, f'[alert]\nurls = ["{url}"]')
    config.path.chmod(0o644)
    assert [one.reveal() for one in load(config.path).alert.urls] == [url]


@pytest.mark.parametrize("url", SECRET)
def test_an_alert_address_with_a_secret_obeys_the_rule_of_secrets(tmp_path, url):
    config = configured(tmp_path, f'[alert]\nurls = ["{url}"]')
    assert [one.reveal() for one in config.alert.urls] == [url]
    assert "gehei" not in repr(config)
    config.path.chmod(0o644)
    with pytest.raises(ConfigurationError) as caught:
        load(config.path)
    told = "".join(map(str, caught.value.faults))
    assert "chmod 600" in told
    assert "gehei" not in told


OPEN = '[console]\nlisten = "0.0.0.0:8470"\npassword = "secret"\n'
LOCAL = '[console]\nlisten = "127.0.0.1:8470"\n'


@pytest.mark.parametrize("value", ["10.0.0.1", "10.1.0.0/24", "2001:db8::/64", "::1"])
def test_proxies_are_addresses_or_networks(tmp_path, value):
    text = f'{OPEN}https = true\ntrusted_proxies = "{value}"'
    assert configured(tmp_path, text).console.trusted_proxies == (value,)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("proxy.shop.example", "is no address and no network"),
        ("10.1.0.7/24", "host bits"),
        ("0.0.0.0/0", "trusts everybody"),
        ("::/0", "trusts everybody"),
        ("", "is no address and no network"),
    ],
)
def test_what_is_no_proxy_is_refused(tmp_path, value, why):
    assert why in faults(tmp_path, f'{OPEN}trusted_proxies = ["{value}"]')


def test_probes_have_an_address_of_their_own(tmp_path):
    assert configured(tmp_path, f'{LOCAL}probes = "127.0.0.1:8471"').console.probes == "127.0.0.1:8471"
    assert "a port of its own" in faults(tmp_path, f'{LOCAL}probes = "127.0.0.1:8470"')
    assert "the console is off" in faults(tmp_path, '[console]\nprobes = "127.0.0.1:8471"')
    assert "is no address to listen on" in faults(tmp_path, f'{LOCAL}probes = "8471"')
    assert "needs a password" in faults(tmp_path, f'{LOCAL}probes = "0.0.0.0:8471"')


def warned(tmp_path: Path, text: str) -> str:
    return "\n".join(one for one in configured(tmp_path, text).warnings if "console" in one)


def test_a_console_open_to_a_network_in_the_clear_is_warned_of(tmp_path):
    assert "speaks HTTP without TLS" in warned(tmp_path, OPEN)
    certificate = make_certificates(tmp_path / "tls").both
    for silent in (LOCAL, f'{OPEN}certificate = "{certificate}"'):
        assert warned(tmp_path, silent) == ""


def test_a_proxy_that_is_not_named_is_warned_of(tmp_path):
    assert "count as one address" in warned(tmp_path, f"{OPEN}https = true")
    assert warned(tmp_path, f'{OPEN}https = true\ntrusted_proxies = "10.0.0.1"') == ""
    assert "whoever passes the proxy may edit" in warned(tmp_path, f'{LOCAL}trusted_proxies = "127.0.0.1"')


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path):
    files = make_certificates(tmp_path / "tls")
    assert configured(tmp_path, f'{LOCAL}certificate = "{files.both}"').console.encrypted
    (tmp_path / "empty.pem").write_text("")
    assert "cannot be used" in faults(tmp_path, f'{LOCAL}certificate = "empty.pem"')
    assert "there is no certificate" in faults(tmp_path, f'{LOCAL}key = "{files.both}"')
    assert "does nothing beside" in faults(tmp_path, f'{LOCAL}https = true\ncertificate = "{files.both}"')
    assert "is not there" in faults(tmp_path, f'{LOCAL}certificate = "gone.pem"')
