"""Alerts: where they go, what raises them, and a test."""

from __future__ import annotations

import re
from collections import Counter

from starlette.responses import Response

from cegid_daemon.console.visit import Visit, back
from cegid_daemon.errors import Refused

_KIND = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,19}):")


def alerts(visit: Visit) -> Response:
    """What is configured, without any secret."""
    spec = visit.ground.config.alert
    return visit.page("alerts.html", spec=spec, kinds=Counter(kind_of(one.reveal()) for one in spec.urls))


def kind_of(address: str) -> str:
    """What sort of address it is, `mailto` or `slack`: all of it that is no secret."""
    found = _KIND.match(address)
    return found[1].lower() if found else "other"


def test(visit: Visit) -> Response:
    """Sends a test to every address, and waits for what comes of it."""
    send = visit.ground.test_alert
    if send is None:
        raise Refused("no alert is configured", remedy="Add an [alert] table with `urls` to the configuration.")
    send(visit.session.who)
    return back(visit, "/alerts", "The test was sent to every address.")
