"""The console in the browser: one face of the daemon, without a rule of the business.

Server-rendered pages behind one gate. A page reads through read-only connections of its own, and changes something only
through the desk and the buffer book. Nothing of the web is imported until `console.listen` says that it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cegid_daemon.bootstrap import Crew, Installation
    from cegid_daemon.config import Config
    from cegid_daemon.console.sessions import LoginLimit, Sessions
    from cegid_daemon.daemon import Daemon, Service


class Console:
    """Makes the console's service for each configuration; sessions outlive a reload unless a password changed."""

    def __init__(self) -> None:
        self._shared: tuple[Sessions, LoginLimit] | None = None
        self._secrets: object = None

    def __call__(self, installation: Installation, config: Config, crew: Crew, daemon: Daemon) -> Sequence[Service]:
        """The console as a service of the daemon; none where nothing is to listen."""
        if not config.console.listen:
            return []
        from cegid_daemon.console.service import ConsoleService

        sessions, limit = self._sessions(config)
        return [ConsoleService(installation, config, crew, daemon, sessions, limit)]

    def _sessions(self, config: Config) -> tuple[Sessions, LoginLimit]:
        import time

        from cegid_daemon.console.sessions import LoginLimit, Sessions

        if self._shared is None:
            self._shared = Sessions(time.monotonic), LoginLimit(time.monotonic)
        passwords = config.console.password, config.console.viewer_password
        if passwords != self._secrets:
            self._shared[0].close_all()
            self._secrets = passwords
        return self._shared
