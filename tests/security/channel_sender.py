"""Sends one alert to many channels in a process of its own, as the daemon does, and prints what each would be sent.

The library's ends, HTTP and SMTP, are taken by this process: nothing goes out. An order `{urls, title, text}` comes on
standard input; a JSON object of the bodies by address goes to standard output.
"""

from __future__ import annotations

import json
import smtplib
import sys
from typing import Any

import requests
from apprise import Apprise
from requests.adapters import HTTPAdapter

from cegid_daemon.alert_channels import send

ANSWER = json.dumps({
    "ok": True, "event_id": "1", "room_id": "!x:b", "joined_rooms": ["!x:b"], "access_token": "x", "user_id": "@a:b",
    "home_server": "b",
}).encode()  # fmt: skip
bodies: list[str] = []


class Mails:
    """A mail server that takes everything."""

    def __init__(self, *_given: Any, **_options: Any) -> None:
        """Takes any address."""

    def sendmail(self, _sender: str, _to: list[str], text: str | bytes, *_rest: Any) -> None:
        """Keeps a mail."""
        bodies.append(text if isinstance(text, str) else text.decode())

    def __getattr__(self, _name: str) -> Any:
        """Agrees to all else."""
        return lambda *_given, **_options: None


def answer(_adapter: HTTPAdapter, request: requests.PreparedRequest, **_options: Any) -> requests.Response:
    """Keeps a body, and says yes."""
    body = request.body or b""
    bodies.append(body if isinstance(body, str) else body.decode())
    response = requests.Response()
    response.status_code, response.request, response.url = 200, request, request.url or ""
    response._content = ANSWER
    return response


def main() -> None:
    """Sends to all of them."""
    order = json.load(sys.stdin)
    HTTPAdapter.send = answer  # type: ignore[method-assign]
    smtplib.SMTP = Mails  # type: ignore[assignment,misc]
    smtplib.SMTP_SSL = Mails  # type: ignore[assignment,misc]
    found: dict[str, list[str]] = {}
    for url in order["urls"]:
        bodies.clear()
        service = Apprise.instantiate(url)
        assert service is not None, url
        send(service, order["title"], order["text"])
        found[url] = list(bodies)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
