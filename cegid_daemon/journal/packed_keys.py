"""Lists of keys as the journal keeps them until they are indexed: packed, made and searched without unfolding them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable

MOST = 1_000_000  # keys of a list; further ones are left out
TRIGRAM = 3  # characters: shorter texts are found whole or as a beginning only
_REMEMBERED = 50_000  # keys that are kept unfolded, to leave out those that come again
_written = json.JSONEncoder(ensure_ascii=False).encode
_BEGINS = ("[", "\n", " ")  # what stands before a key; inside of one, its quotation marks follow a backslash


class PackedKeys:
    """A list of keys under way; each is taken once, as far as they come again soon."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(1)
        self._pieces = [self._packer.compress(b"[")]
        self._seen: set[str] = set()
        self._count = 0

    def add(self, keys: Iterable[str]) -> None:
        """Adds keys; blank ones are none."""
        lines = []
        for key in keys:
            if key and key not in self._seen and self._count < MOST:
                lines.append(f"{',' if self._count else ''}\n{_line(key)}")
                self._seen.add(key)
                self._count += 1
        self._pieces.append(self._packer.compress(_bytes("".join(lines))))
        if len(self._seen) > _REMEMBERED:
            self._seen.clear()

    @property
    def is_full(self) -> bool:
        """Whether no more are taken."""
        return self._count >= MOST

    def body(self) -> bytes:
        """The list; nothing can be added to it any more."""
        self._pieces.append(self._packer.compress(b"]"))
        return b"".join([*self._pieces, self._packer.flush()])


def pack(keys: Iterable[str]) -> bytes:
    """A list of keys."""
    packed = PackedKeys()
    packed.add(keys)
    return packed.body()


def unpack(body: bytes) -> list[str]:
    """The keys of a list, in the order they came."""
    keys: list[str] = json.loads(_text(body))
    return keys


def closest_key(body: bytes, text: str) -> tuple[str, str] | None:
    """The key of a list that is closest to a text, and how: exact, beginning, part."""
    lines, quoted = _text(body), _line(text)
    if quoted in lines:
        return text, "exact"
    begins = next((at for sign in _BEGINS if (at := lines.find(f"{sign}{quoted[:-1]}")) >= 0), -1)
    if begins >= 0:
        return json.JSONDecoder().raw_decode(lines, begins + 1)[0], "beginning"
    if len(text) < TRIGRAM or quoted[1:-1].casefold() not in lines.casefold():
        return None
    part = text.casefold()
    return next(((key, "part") for key in unpack(body) if part in key.casefold()), None)


def closeness(text: str, key: str) -> str:
    """How a key holds a text; blank if it does not."""
    if key == text:
        return "exact"
    if key.startswith(text):
        return "beginning"
    return "part" if len(text) >= TRIGRAM and text.casefold() in key.casefold() else ""


def _line(key: str) -> str:
    return _written(key)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(body: bytes) -> str:
    return zlib.decompress(body).decode("utf-8", "surrogatepass")
