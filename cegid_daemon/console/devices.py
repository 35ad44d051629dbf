"""Browsers that logged in before: known by a signed cookie, and then not held by anybody's failed logins.

The cookie is never a login by itself. It says that this browser once knew the password of a role under a name; with the
right password it gets in whatever pauses there are. It ends with that password, and after half a year.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path

from cegid_daemon.config import ConsoleSpec
from cegid_daemon.console.sessions import Role, account_of
from cegid_daemon.errors import Refused
from cegid_daemon.files import write_atomically

log = logging.getLogger(__name__)

LIFETIME = 180 * 86_400  # seconds
_KEY_FILE = "console.key"
_KEY_BYTES = 32


class Devices:
    """Signs and knows the cookies. `name` begins their names."""

    def __init__(self, key: bytes, spec: ConsoleSpec, name: str) -> None:
        self._key = key
        self._passwords = {Role.OPERATOR: spec.password, Role.VIEWER: spec.viewer_password}
        self._name = name

    def cookie(self, account: str) -> str:
        """The name of an account's cookie: people who share a browser have one each."""
        return f"{self._name}_device_{hashlib.sha256(account_of(account).encode()).hexdigest()[:12]}"

    def token(self, account: str, role: Role, now: float) -> str:
        """What the cookie holds after a login."""
        issued = str(int(now))
        return f"{issued}.{self._signature(account, role, issued)}"

    def role(self, cookies: Mapping[str, str], account: str, now: float) -> Role | None:
        """The role this browser once logged in to under that name; None where it never did."""
        issued, _, signature = cookies.get(self.cookie(account), "").partition(".")
        if not (issued.isascii() and issued.isdigit() and len(issued) < 16 and 0 <= now - int(issued) <= LIFETIME):
            return None
        typed = signature.encode("utf-8", "surrogatepass")
        known = [role for role in Role if hmac.compare_digest(typed, self._signature(account, role, issued).encode())]
        return known[0] if known else None

    def _signature(self, account: str, role: Role, issued: str) -> str:
        """Stands on the role's password: a changed one ends the cookie."""
        password = self._passwords[role]
        secret = hashlib.sha256(password.reveal().encode()).hexdigest() if password else secrets.token_hex()
        text = "\n".join((issued, role.value, secret, account_of(account)))
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def device_key(state: Path) -> bytes:
    """The key of this installation, made at the first start. Where it cannot be kept, one that ends with the daemon."""
    path = state / _KEY_FILE
    try:
        if path.is_file() and not path.stat().st_mode & 0o077:
            key = path.read_bytes()
            if len(key) == _KEY_BYTES:
                return key
        key = secrets.token_bytes(_KEY_BYTES)
        with write_atomically(path, private=True) as opened:
            opened.write(key)
    except (OSError, Refused) as error:
        log.warning("Console: %s cannot be used; browsers that logged in before are known until the next start: %s",
                    path, error)  # fmt: skip
        return secrets.token_bytes(_KEY_BYTES)
    return key
