"""The console that speaks HTTPS itself, and what is said of one that others reach in the clear."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.console_site import Answer, Browser
from tests.security.service import OPERATOR, Service, running
from tests.servers.places import HOST, Certificates, make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Service]:
    """One daemon with a certificate."""
    keys = f'certificate = "{certificates.certificate}"\nkey = "{certificates.key}"'
    with running(tmp_path_factory.mktemp("tls") / "shop", console_keys=keys) as started:
        yield started


class SecureBrowser(Browser):
    """A browser that speaks HTTPS and trusts one authority."""

    def __init__(self, port: int, authority: Path) -> None:
        super().__init__(port)
        self.context = ssl.create_default_context(cafile=str(authority))
        self.told: list[str] = []

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        with closing(http.client.HTTPSConnection(HOST, self.port, timeout=20, context=self.context)) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            self.told = response.headers.get_all("set-cookie") or []
            self.cookies.update(one.partition(";")[0].split("=", 1) for one in self.told)
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())


def test_pages_and_cookies_are_for_https_only(service: Service, certificates: Certificates) -> None:
    browser = SecureBrowser(service.console, certificates.authority)
    answer = browser.get("/login")
    assert "max-age" in answer.headers["strict-transport-security"]
    assert "without TLS" not in answer.text
    assert browser.log_in("Ann", OPERATOR).status == 303
    assert len(browser.told) == 2
    assert all("secure" in cookie.lower() for cookie in browser.told)
    assert browser.get("/log").status == 200


def test_a_renewed_certificate_is_taken_at_a_reload_and_a_broken_one_is_not(
    service: Service, certificates: Certificates, tmp_path: Path
) -> None:
    renewed = make_certificates(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        SecureBrowser(service.console, renewed.authority).get("/login")
    for name in ("certificate", "key"):
        getattr(certificates, name).write_bytes(getattr(renewed, name).read_bytes())
    reload(service, "Reloaded")
    assert SecureBrowser(service.console, renewed.authority).get("/login").status == 200
    certificates.key.write_text("no key")
    reload(service, "the old one goes on")
    assert SecureBrowser(service.console, renewed.authority).get("/login").status == 200
    certificates.key.write_bytes(renewed.key.read_bytes())


def reload(service: Service, said: str) -> None:
    before = service.daemon.said().count(said)
    os.kill(service.pid, signal.SIGHUP)
    service.daemon.wait_for(lambda: service.daemon.said().count(said) > before, said, 15)


def test_a_console_in_the_clear_is_warned_of_at_the_start_and_at_the_login(service: Service) -> None:
    kept = service.shop.configuration.read_text("utf-8")
    lines = [one for one in kept.splitlines() if not one.startswith(("certificate", "key"))]
    opened = "\n".join(lines).replace(f'"{HOST}:{service.console}"', f'"0.0.0.0:{service.console}"')
    service.shop.configuration.write_text(opened, "utf-8")
    reload(service, "Reloaded")
    assert "speaks HTTP without TLS" in service.daemon.said()
    assert "came without TLS" in Browser(service.console).get("/login").text
    assert "speaks HTTP without TLS" in service.shop.call("check").stderr
