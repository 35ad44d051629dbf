"""Passwords as hashes: made once by an operator, compared at each login. Knows no user and keeps nothing.

The hash is scrypt's, of the standard library, written as the PHC string format has it:
`$scrypt$ln=15,r=8,p=1$SALT$HASH` (base64 without padding). One comparison costs 32 MiB of memory and about 100 ms.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass

_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,})\$([A-Za-z0-9+/]{22,})")
_COST, _BLOCK, _LANES = 15, 8, 1
_MOST_MEMORY = 256 << 20  # bytes a hash may ask for: a configured one must not stop the daemon


@dataclass(frozen=True, slots=True)
class _Hash:
    cost: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> _Hash | None:
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        cost, block, lanes = (int(found[at]) for at in (1, 2, 3))
        if not (10 <= cost <= 20 and block and lanes) or _memory(cost, block, lanes) > _MOST_MEMORY:
            return None
        return cls(cost, block, lanes, _decoded(found[4]), _decoded(found[5]))

    def of(self, password: str) -> bytes:
        return hashlib.scrypt(
            password.encode("utf-8", "surrogateescape"), salt=self.salt, n=1 << self.cost, r=self.block, p=self.lanes,
            maxmem=_memory(self.cost, self.block, self.lanes) + (1 << 20), dklen=len(self.digest),
        )  # fmt: skip


def hashed(password: str, *, salt: bytes | None = None) -> str:
    """The hash to write into the configuration; `salt` is random unless given."""
    salt = os.urandom(16) if salt is None else salt
    digest = _Hash(_COST, _BLOCK, _LANES, salt, bytes(32)).of(password)
    return f"$scrypt$ln={_COST},r={_BLOCK},p={_LANES}${_encoded(salt)}${_encoded(digest)}"


def is_hash(text: str) -> bool:
    """Whether a text is a hash that `matches` can use."""
    return _Hash.parse(text) is not None


def matches(password: str, text: str) -> bool:
    """Whether `password` is the one behind the hash `text`; False for what is no hash."""
    known = _Hash.parse(text)
    return known is not None and hmac.compare_digest(known.of(password), known.digest)


def _memory(cost: int, block: int, lanes: int) -> int:
    return 128 * block * ((1 << cost) + lanes)


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii").rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
