"""What the sites have in common as services: started, looked after, stopped, a taken port told and tried again."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from cegid_daemon.model import SiteSpec
from cegid_daemon.sites.connections import LOG_SECONDS

log = logging.getLogger(__name__)

_ACCEPT_AGAIN_SECONDS = 1.0
_AGAIN = 10.0  # seconds after which a port that was taken is tried again


class AcceptFaults:
    """Connections that could not be accepted, mostly because all file descriptors are in use: logged once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged_at: float | None = None

    def pause(self, error: OSError, now: float) -> float:
        """Seconds until the next try: the connection still waits, so that to try at once would never end."""
        if self._logged_at is None or now - self._logged_at >= LOG_SECONDS:
            log.error(
                "%s: a connection could not be accepted: %s. It is tried again every second; if all file descriptors"
                " are in use, raise LimitNOFILE.", self._name, error.strerror or error,
            )  # fmt: skip
            self._logged_at = now
        return _ACCEPT_AGAIN_SECONDS


class Hosted:
    """A site as a service of the daemon; the protocols fill in `_listen`, `_running` and `_end`."""

    def __init__(self, name: str, spec: SiteSpec) -> None:
        self.name = name
        self.spec = spec
        self.port = 0  # where it listens; 0 while it does not
        self._wanted = False
        self._failing = False
        self._try_at = 0.0

    def start(self) -> None:
        """Begins to listen; a port that is taken is told, and tried again by `tend`."""
        self._wanted = True
        try:
            for user in self.spec.users:
                Path(user.folder).mkdir(parents=True, exist_ok=True)
            self.port = self._listen()
        except OSError as error:
            self._tell(error)
            return
        self._failing = False
        log.info("%s: listens on %s port %d for %s.", self.name, self.spec.host, self.port, self._users())

    def stop(self) -> None:
        """Ends every connection; what was on its way can be resumed later."""
        self._wanted = False
        self._end()
        self.port = 0

    def tend(self) -> None:
        """Starts again what could not listen, or what has died."""
        if not self._wanted or self._running() or time.monotonic() < self._try_at:
            return
        if self.port:
            log.error("%s: its thread has died and is started again.", self.name)
            self._end()
            self.port = 0
        self.start()

    def _tell(self, error: OSError) -> None:
        self._try_at = time.monotonic() + _AGAIN
        if not self._failing:
            log.error(
                "%s: cannot listen on %s port %d: %s. It is tried again by itself.",
                self.name, self.spec.host, self.spec.port, error.strerror or error,
            )  # fmt: skip
        self._failing = True

    def _users(self) -> str:
        return ", ".join(user.name for user in self.spec.users)

    def _listen(self) -> int:
        """Listens; returns the port. Raises OSError."""
        raise NotImplementedError

    def _running(self) -> bool:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError
