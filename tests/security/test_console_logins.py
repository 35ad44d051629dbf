"""Guessing at the console's login: it is slowed down, and cannot be turned against the operators."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.integration.console_site import Answer, Browser
from tests.security.service import OPERATOR, VIEWER, Service, running
from tests.servers.places import HOST

GUESSER, OPERATORS = "203.0.113.66", "198.51.100.7"


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One daemon behind a proxy of this machine."""
    folder = tmp_path_factory.mktemp("logins") / "shop"
    with running(folder, console_keys=f'https = true\ntrusted_proxies = ["{HOST}"]') as started:
        yield started


class Visitor(Browser):
    """A browser behind the proxy."""

    def __init__(self, port: int, address: str) -> None:
        super().__init__(port)
        self.address = address

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return super().ask(method, path, body, **{"X_Forwarded_For": f"127.0.0.1, {self.address}", **headers})


def tries(service: Service, address: str, name: str, password: str) -> int:
    return Visitor(service.console, address).log_in(name, password).status


def test_behind_the_proxy_a_guesser_keeps_nobody_else_out(service: Service) -> None:
    statuses = [tries(service, GUESSER, f"n{number}", "guess") for number in range(25)]
    assert statuses[0] == 403
    assert statuses[-1] == 429
    assert tries(service, GUESSER, "Ann", OPERATOR) == 429
    assert tries(service, OPERATORS, "Ann", OPERATOR) == 303


def test_who_logged_in_before_is_never_kept_out_and_the_cookie_is_no_login(service: Service) -> None:
    ann = Visitor(service.console, "198.51.100.9")
    answer = ann.log_in("Ann", OPERATOR)
    assert answer.status == 303
    known = {name: value for name, value in ann.cookies.items() if "_device_" in name}
    assert len(known) == 1
    for _ in range(6):
        tries(service, "198.51.100.9", "Ann", "guess")
    assert tries(service, "198.51.100.9", "Ann", OPERATOR) == 429
    again = Visitor(service.console, "198.51.100.9")
    again.cookies.update(known)
    assert again.get("/log").where.startswith("/login")
    assert again.log_in("Ann", "guess").status == 429
    assert again.log_in("Ann", VIEWER).status == 429  # another role's password is no more than a guess
    assert again.log_in("Ann", OPERATOR).status == 303
    assert again.get("/log").status == 200


def test_a_form_of_one_tab_is_good_when_others_came_to_the_login_meanwhile(service: Service) -> None:
    ann = Visitor(service.console, "198.51.100.11")
    token = ann.token("/login")
    for path in ("/login", "/login?next=/log", "/?part=live"):  # other tabs, and one that renews itself
        ann.get(ann.get(path).where or path)
    body = urlencode({"csrf": token, "name": "Ann", "password": OPERATOR}).encode()
    answer = ann.ask("POST", "/login", body, Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 303


def test_a_form_needs_a_token_that_the_console_gave(service: Service) -> None:
    ann = Visitor(service.console, "198.51.100.12")
    cookie = f"cegid_console_{service.console}_login"
    for planted in ("", "x", "a" * 31, "a" * 33, "<script>" + "a" * 24):
        ann.cookies = {cookie: planted}
        assert ann.token("/login") != planted


def test_a_page_that_renews_itself_leads_to_the_login_as_a_whole(service: Service) -> None:
    ann = Visitor(service.console, "198.51.100.13")
    answer = ann.ask(
        "GET", "/?part=live", HX_Request="true", HX_Current_URL="https://cegid.example/log?q=a%26b&size=50"
    )
    assert answer.status == 200
    assert answer.headers["hx-redirect"] == "/login?next=/log%3Fq%3Da%2526b%26size%3D50"
    assert answer.body == b""
    hostile = ann.ask("GET", "/?part=live", HX_Request="true", HX_Current_URL="https://cegid.example//evil.example/")
    assert ann.get(hostile.headers["hx-redirect"]).text.count("evil.example") == 0


def test_the_cookie_is_for_the_login_page_of_this_console_only(service: Service) -> None:
    ann = Visitor(service.console, "198.51.100.10")
    token = ann.token("/login")
    with socket.create_connection((HOST, service.console), timeout=10) as line:
        body = urlencode({"csrf": token, "name": "Ann", "password": OPERATOR}).encode()
        cookies = "; ".join(f"{name}={value}" for name, value in ann.cookies.items())
        line.sendall(
            f"POST /login HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nConnection: close\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = b"".join(iter(lambda: line.recv(65536), b"")).decode().lower()
    cookie = next(one for one in head.split("\r\n") if "_device_" in one and one.startswith("set-cookie"))
    for word in ("httponly", "samesite=strict", "path=/login", "secure"):
        assert word in cookie


def test_the_header_of_a_stranger_is_not_believed(service: Service) -> None:
    for number in range(25):
        Visitor(service.console, f"{GUESSER}, 192.0.2.50").log_in(f"m{number}", "guess")
    assert tries(service, "192.0.2.50", "Bob", OPERATOR) == 429
    assert tries(service, "192.0.2.51", "Bob", OPERATOR) == 303
