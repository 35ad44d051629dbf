"""What systemd is told: ready, reloading, stopping, alive. Says nothing where no systemd listens.

The protocol is one datagram of lines to the socket in NOTIFY_SOCKET (sd_notify(3)); no kept library is smaller. A
manager that does not hear (it is busy, or starts anew itself) is never a reason for the daemon to end.
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds: longer, and a manager that is stuck would hold up the answers to signals


class Notifier:
    """Sends states to the service manager named in the environment."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        environment = dict(os.environ) if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._unheard = False

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

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_PATIENCE)
                channel.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._unheard:
                log.warning("systemd does not hear that the daemon works (%s); it goes on, and goes on telling", error)
            self._unheard = True
        else:
            self._unheard = False
