"""Alerts: where they go, what raises them, and a test."""

from __future__ import annotations

from starlette.responses import Response

from cegid_daemon.console.visit import Visit, back
from cegid_daemon.errors import Refused


def alerts(visit: Visit) -> Response:
    """What is configured, without any secret."""
    return visit.page("alerts.html", spec=visit.ground.config.alert)


def test(visit: Visit) -> Response:
    """Sends a test to every address, and waits for what comes of it."""
    send = visit.ground.test_alert
    if send is None:
        raise Refused("no alert is configured", remedy="Add an [alert] table with `urls` to the configuration.")
    send(visit.session.who)
    return back(visit, "/alerts", "The test was sent to every address.")
