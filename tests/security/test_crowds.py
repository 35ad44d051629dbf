"""Crowds of connections: none keeps the files from being delivered."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tests.security.service import Service
from tests.servers.places import HOST


def test_silent_connections_to_every_listener_hold_up_no_delivery(service: Service) -> None:
    with ExitStack() as open_sockets:
        for port in (service.console, service.ftp, service.sftp):
            for _ in range(60):
                open_sockets.enter_context(socket.create_connection((HOST, port), timeout=5))
        assert service.deliver() < 15
