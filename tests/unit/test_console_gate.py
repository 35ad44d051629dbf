"""The gate in front of the console: host names, foreign pages, sizes, headers."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from cegid_daemon.console.gate import LARGEST_BODY, Gate


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body() if scope["method"] == "POST" else b"ok"
    await PlainTextResponse(body)(scope, receive, send)


def ask(
    headers: dict[str, str], *, method: str = "GET", path: str = "/", body: bytes = b"", https: bool = False
) -> Any:
    gate = Gate(_echo, {"localhost", "127.0.0.1", "console.shop.example"}, https=https, large=("/buffers/import",))
    sent: list[MutableMapping[str, Any]] = []
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 8470), "client": ("127.0.0.1", 50000),
    }  # fmt: skip

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize(
    "written", ["cegid.example", "CEGID.example.", "cegid.example:8443", "https://cegid.example:8443/", "http://cegid.example"]
)  # fmt: skip
def test_a_name_may_be_configured_as_browsers_show_it(written):
    gate = Gate(_echo, {written}, https=False)
    assert gate._is_ours("cegid.example:8443")
    assert not gate._is_ours("evil.example")
    assert not gate._is_ours("")


@pytest.mark.parametrize(
    "host",
    ["localhost:8470", "127.0.0.1:8470", "LOCALHOST", "[::1]:8470", "10.1.2.3", "console.shop.example", "localhost."],
)
def test_our_own_names_and_any_address_are_let_in(host):
    assert ask({"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1:8470@evil.example",
        "[::1]evil.example",
        "localhost:",
        "localhost:8470:1",
        "evil.example:8470",
        "localhost.evil.example",
        "",
        "127.0.0.1.evil.example",
    ],
)
def test_a_name_that_was_rebound_to_us_is_refused(host):
    assert ask({"host": host})[0] == 421


@pytest.mark.parametrize(
    "told",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
)
def test_a_form_sent_by_a_foreign_page_is_refused(told):
    assert ask({"host": "localhost:8470", **told}, method="POST")[0] == 403


def test_a_form_sent_by_our_own_page_is_let_in():
    own = {"host": "localhost:8470", "origin": "http://localhost:8470", "sec-fetch-site": "same-origin"}
    assert ask(own, method="POST")[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "OPTIONS"])
def test_other_methods_are_refused(method):
    assert ask({"host": "localhost"}, method=method)[0] == 405


@pytest.mark.parametrize("size", [str(LARGEST_BODY + 1), "-1", "٣", "many"])
def test_a_body_that_is_announced_as_too_large_is_refused(size):
    assert ask({"host": "localhost", "content-length": size}, method="POST")[0] == 413


def test_a_body_that_grows_too_large_without_saying_so_ends_the_request():
    with pytest.raises(ClientDisconnect):
        ask({"host": "localhost"}, method="POST", body=b"x" * (1 << 17))
    assert ask({"host": "localhost"}, method="POST", path="/buffers/import", body=b"x" * (1 << 17))[0] == 200


def test_every_answer_forbids_foreign_scripts_frames_and_guessed_types():
    for headers in (ask({"host": "localhost"})[1], ask({"host": "evil.example"})[1]):
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers


def test_behind_https_browsers_are_told_to_stay_there():
    assert "strict-transport-security" in ask({"host": "localhost"}, https=True)[1]


def test_a_body_that_does_not_come_to_its_end_ends_the_request():
    async def receive() -> MutableMapping[str, Any]:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        raise AssertionError(message)

    pieces = [b"a"]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    with pytest.raises(ClientDisconnect):
        asyncio.run(Gate(_echo, {"localhost"}, https=False, seconds=0.05)(scope, receive, send))
