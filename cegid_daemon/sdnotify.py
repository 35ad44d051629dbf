"""What systemd is told: ready, reloading, stopping, alive. Says nothing where no systemd listens.

The protocol is one datagram of lines to the socket in NOTIFY_SOCKET (sd_notify(3)); no kept library is smaller.
"""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Sends states to the service manager named in the environment."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        environment = dict(os.environ) if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._watchdog_us = int(environment.get("WATCHDOG_USEC", "0") or 0)

    @property
    def watchdog_seconds(self) -> float:
        """How long systemd waits for a sign of life; 0 = it does not."""
        return self._watchdog_us / 1e6

    def ready(self) -> None:
        """The daemon works."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A new configuration is being read; `ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """What is under way is brought to its end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Work gets on."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1)
            channel.sendto(message.encode(), self._address)
