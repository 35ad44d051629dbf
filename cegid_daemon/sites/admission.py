"""Who may come in: users and their hashed passwords, and for how long an address that guesses is kept out.

Owns the count of failed logins. Takes as long for a name nobody has as for a wrong password. Never says a password.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cegid_daemon import passwords
from cegid_daemon.addresses import counted_as
from cegid_daemon.clock import age
from cegid_daemon.logs import printable
from cegid_daemon.model import SiteUser

log = logging.getLogger(__name__)

_MOST_ADDRESSES = 10_000


class Attempts:
    """Failed logins by address, of IPv6 by the network one host can choose from. `now` is handed in."""

    def __init__(self, most: int, lockout: timedelta) -> None:
        self._most = most
        self._lockout = lockout
        self._lock = threading.Lock()
        self._failed: dict[str, list[datetime]] = {}

    def kept_out(self, address: str, now: datetime) -> bool:
        """Whether the address failed too often to be listened to."""
        with self._lock:
            return len(self._recent(address, now)) >= self._most

    def failed(self, address: str, now: datetime) -> bool:
        """Counts one more; True when it was the last one listened to."""
        with self._lock:
            recent = [*self._recent(address, now), now]
            self._failed[counted_as(address)] = recent
            while len(self._failed) > _MOST_ADDRESSES:
                self._failed.pop(next(iter(self._failed)))
            return len(recent) == self._most

    def succeeded(self, address: str) -> None:
        """Forgets what failed."""
        with self._lock:
            self._failed.pop(counted_as(address), None)

    def _recent(self, address: str, now: datetime) -> list[datetime]:
        """A failure later than now counts as now, from now on: the clock was set back."""
        known = self._failed.get(counted_as(address))
        if known is None:
            return []
        known[:] = [min(one, now) for one in known if age(one, now) < self._lockout]
        return list(known)


class Admission:
    """The door of one site."""

    def __init__(self, site: str, users: Sequence[SiteUser], attempts: Attempts, clock: Callable[[], datetime]) -> None:
        self._site = site
        self._users = {user.name: user for user in users}
        self._attempts = attempts
        self._clock = clock
        known = [user.password.reveal() for user in users if user.password is not None]
        self._decoys = known or [passwords.hashed("", salt=bytes(16))]

    def user(self, name: str) -> SiteUser | None:
        """The user of a name."""
        return self._users.get(name)

    def kept_out(self, address: str) -> bool:
        """Whether the address is not listened to now."""
        return self._attempts.kept_out(address, self._clock())

    def admits(self, name: str, password: str, address: str) -> bool:
        """Whether the password is the user's; takes about 100 ms. A failure is counted and told."""
        if not self.kept_out(address) and self._is_password(name, password) and not self.kept_out(address):
            self.welcome(name, address)
            return True
        self.refuse(name, address)
        return False

    def _is_password(self, name: str, password: str) -> bool:
        """Who has no password is compared with somebody else's, so that it takes as long."""
        user = self._users.get(name)
        if user is not None and user.password is not None:
            return passwords.matches(password, user.password.reveal())
        number = zlib.crc32(name.encode("utf-8", "surrogateescape"))
        passwords.matches(password, self._decoys[number % len(self._decoys)])
        return False

    def welcome(self, name: str, address: str) -> None:
        """Notes a login."""
        self._attempts.succeeded(address)
        log.info("%s: %s logged in from %s.", self._site, printable(name), address)

    def refuse(self, name: str, address: str) -> None:
        """Notes a login that failed."""
        log.warning("%s: a login as %s from %s was refused.", self._site, printable(name)[:64], address)
        if self._attempts.failed(address, self._clock()):
            log.warning("%s: %s failed too often and is kept out for a while.", self._site, address)
