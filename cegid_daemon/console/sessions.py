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

from cegid_daemon.addresses import counted_as
from cegid_daemon.config import ConsoleSpec, Secret

IDLE = 8 * 3600.0  # seconds after which a session nobody used ends
LONGEST = 7 * 24 * 3600.0  # seconds after which every session ends
_MOST = 500  # sessions at once: see `_worth`
FORGET = 300.0  # seconds after which one failed login is forgotten
_OVERALL, _MINUTE = 60, 60.0  # failed logins of all addresses in a minute
_MOST_COUNTED = 20_000  # names and addresses whose failures are counted
_MOST_KNOWN = 2_000  # addresses that a right password came from
LONGEST_NAME = 40


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
                del self._sessions[min(self._sessions, key=lambda one: _worth(self._sessions[one]))]
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


def _worth(session: Session) -> tuple[bool, bool, float]:
    """The lowest gives way: no crowd of viewers ends an operator's, and no script that keeps no cookie a person's."""
    return session.role is Role.OPERATOR, session.used_at > session.made_at, session.used_at


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


@dataclass(frozen=True, slots=True)
class _Rule:
    """When failures make somebody wait: from `free` of them on, `first` seconds, doubled by each further one."""

    free: int
    first: float
    longest: float

    def pause(self, times: int) -> float:
        """Seconds, after so many failures."""
        if times < self.free:
            return 0.0
        return min(self.longest, self.first * float(2 ** min(times - self.free, 20)))


_ACCOUNT = _Rule(5, 10.0, 900.0)  # a name from one address
_ADDRESS = _Rule(20, 10.0, 60.0)  # an address under whatever names: others behind it get their turn within a minute


@dataclass(slots=True)
class _Failures:
    """Failures, of which one is forgotten every FORGET seconds."""

    rule: _Rule
    times: int = 0
    last_at: float = 0.0
    until: float = 0.0

    def add(self, now: float) -> None:
        """One more."""
        self.times = max(0, self.times - int((now - self.last_at) / FORGET)) + 1
        self.last_at = now
        self.until = now + self.rule.pause(self.times)


class LoginLimit:
    """Failed logins: a name from an address waits longer and longer, an address a little, and all are bounded.

    A browser that logged in before is not held by any of this (`devices`), so that nobody can keep the operators out.
    An address that a right password came from (a scraper's has no cookie) is held by its own failures only.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, ...], _Failures] = {}
        self._lately: list[float] = []
        self._known: dict[str, None] = {}

    def wait(self, address: str, account: str = "") -> float:
        """Seconds to wait before the next try of this name from this address; 0: it may try."""
        now = self._monotonic()
        with self._lock:
            self._lately = [at for at in self._lately if now - at < _MINUTE]
            crowded = len(self._lately) >= _OVERALL and counted_as(address) not in self._known
            overall = _MINUTE - (now - self._lately[0]) if crowded else 0.0
            found = (self._failures.get(key) for key, _ in self._counted(address, account))
            return max(0.0, overall, *(one.until - now for one in found if one))

    def failed(self, address: str, account: str = "") -> None:
        """Notes a wrong password."""
        now = self._monotonic()
        with self._lock:
            self._lately.append(now)
            for key, rule in self._counted(address, account):
                failures = self._failures.pop(key, None) or _Failures(rule)
                failures.add(now)
                self._failures[key] = failures  # at the end: the one that failed longest ago stands first
            while len(self._failures) > _MOST_COUNTED:
                del self._failures[next(iter(self._failures))]

    def worked(self, address: str, account: str = "") -> None:
        """Notes a right one. What the address failed under other names is forgotten by time only."""
        with self._lock:
            self._failures.pop((counted_as(address), account_of(account)), None)
            self._known.pop(counted_as(address), None)
            self._known[counted_as(address)] = None  # at the end: the one unused for longest stands first
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]

    def _counted(self, address: str, account: str) -> tuple[tuple[tuple[str, ...], _Rule], ...]:
        at = counted_as(address)
        return ((at, account_of(account)), _ACCOUNT), ((at,), _ADDRESS)


def account_of(name: str) -> str:
    """What a typed name counts as."""
    return name.strip()[:LONGEST_NAME].casefold()
