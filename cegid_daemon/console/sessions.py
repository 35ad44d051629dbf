"""Who is at the console: sessions, the two roles, and how often a login may fail.

Sessions live in memory only: a restart of the daemon ends them, a reload does not. Passwords are compared, never kept
or logged.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cegid_daemon.config import ConsoleSpec, Secret

IDLE = 8 * 3600.0  # seconds after which a session nobody used ends
LONGEST = 7 * 24 * 3600.0  # seconds after which every session ends
_MOST = 500  # sessions at once; the one unused for longest gives way
_FREE_TRIES = 5  # failed logins of one address before it has to wait
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 900.0  # seconds; doubling
_OVERALL, _MINUTE = 60, 60.0  # failed logins of all addresses in a minute
_MOST_ADDRESSES = 10_000


class Role(StrEnum):
    """What somebody may do."""

    OPERATOR = "operator"
    VIEWER = "viewer"  # reads only


@dataclass(slots=True)
class Session:
    """One browser. `csrf` stands in every form of it."""

    who: str
    role: Role
    made_at: float
    used_at: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    notice: str = ""  # what was done just now, for the next page
    upload: str = ""  # the import this browser has seen a preview of


class Sessions:
    """The sessions there are, by the hash of their token."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, who: str, role: Role) -> tuple[str, Session]:
        """A new session and the token that names it."""
        now, token = self._monotonic(), secrets.token_urlsafe(32)
        session = Session(who, role, now, now)
        with self._lock:
            while len(self._sessions) >= _MOST:
                del self._sessions[min(self._sessions, key=lambda one: self._sessions[one].used_at)]
            self._sessions[_hash(token)] = session
        return token, session

    def find(self, token: str) -> Session | None:
        """The session of a token, unless it has ended."""
        now = self._monotonic()
        with self._lock:
            session = self._sessions.get(_hash(token))
            if session is None:
                return None
            if now - session.used_at > IDLE or now - session.made_at > LONGEST:
                del self._sessions[_hash(token)]
                return None
            session.used_at = now
            return session

    def close(self, token: str) -> None:
        """Ends a session."""
        with self._lock:
            self._sessions.pop(_hash(token), None)

    def close_all(self) -> None:
        """Ends every session: the passwords changed."""
        with self._lock:
            self._sessions.clear()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def role_of(typed: str, spec: ConsoleSpec) -> Role | None:
    """The role a password opens; both are compared whatever the first says."""
    operator, viewer = _same(typed, spec.password), _same(typed, spec.viewer_password)
    return Role.OPERATOR if operator else Role.VIEWER if viewer else None


def _same(typed: str, secret: Secret | None) -> bool:
    """Compared in a time that tells nothing, not even the length."""
    expected = secret.reveal() if secret else secrets.token_hex()
    return hmac.compare_digest(_digest(typed), _digest(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(slots=True)
class _Failures:
    times: int = 0
    until: float = 0.0


class LoginLimit:
    """Failed logins: an address waits longer and longer, and all of them together are bounded."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._by_address: dict[str, _Failures] = {}
        self._lately: list[float] = []

    def wait(self, address: str) -> float:
        """Seconds this address has to wait before its next try; 0: it may try."""
        now = self._monotonic()
        with self._lock:
            self._lately = [at for at in self._lately if now - at < _MINUTE]
            failures = self._by_address.get(address, _Failures())
            overall = _MINUTE - (now - self._lately[0]) if len(self._lately) >= _OVERALL else 0.0
            return max(0.0, failures.until - now, overall)

    def failed(self, address: str) -> None:
        """Notes a wrong password."""
        now = self._monotonic()
        with self._lock:
            self._lately.append(now)
            if len(self._by_address) >= _MOST_ADDRESSES:
                self._by_address.clear()
            failures = self._by_address.setdefault(address, _Failures())
            failures.times += 1
            if failures.times >= _FREE_TRIES:
                pause = _FIRST_WAIT * float(2 ** min(failures.times - _FREE_TRIES, 20))
                failures.until = now + min(_LONGEST_WAIT, pause)

    def worked(self, address: str) -> None:
        """Notes a right one."""
        with self._lock:
            self._by_address.pop(address, None)
