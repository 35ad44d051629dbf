"""The stores' integration settings: "Log Requests?", Enabled and the store-level Stock Buffer, with history.

The configuration gives first values, written once; from then on operators' edits hold. Owns the table `setting`; the
stock buffer stands in `buffer` at level store, so that it has the history buffers have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cegid_daemon.errors import BadValue
from cegid_daemon.journal.connection import Connection
from cegid_daemon.journal.revisions import Author, Change, Revisions, trimmed
from cegid_daemon.model import Store
from cegid_daemon.rewrite.buffers import parse

KEYS = ("log-requests", "enabled", "stock-buffer")
_SWITCHES = {"true": True, "false": False}
_READ = {
    "setting": "SELECT value FROM setting WHERE store = ? AND key = ? ORDER BY revision DESC LIMIT 1",
    "buffer": (
        "SELECT value FROM buffer WHERE store = ? AND level = 'store' AND key = ? ORDER BY revision DESC LIMIT 1"
    ),
}
_WRITE = {
    "setting": "INSERT INTO setting (store, key, revision, value) VALUES (?, ?, ?, ?)",
    "buffer": "INSERT INTO buffer (store, level, key, revision, value) VALUES (?, 'store', ?, ?, ?)",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that operators changed since its first value was configured."""

    store: str
    key: str
    configured: str
    kept: str

    def __str__(self) -> str:
        configured, kept = self.configured or "(unset)", self.kept or "(unset)"
        return f"store {self.store}: {self.key} is {kept} by an operator, not {configured} as configured"


class Settings:
    """What holds for each store now."""

    def __init__(self, connection: Connection, revisions: Revisions) -> None:
        self._connection = connection
        self._revisions = revisions

    def first_values(self, stores: Iterable[Store], *, now: datetime) -> None:
        """Writes the configured values of settings that never had one; never over one that an operator set."""
        with self._connection.transaction():
            missing = [
                (store.name, key, value)
                for store in stores
                for key, value in configured(store).items()
                if value and self.get(store.name, key) is None
            ]
            if missing:
                revision = self._revisions.begin(Author("configuration", "first value", now))
                for store_name, key, value in missing:
                    self._write(store_name, key, value, revision)

    def get(self, store: str, key: str) -> str | None:
        """A setting as text ("true", "2", "" for a buffer that was unset); None if it never had a value."""
        table, column = _place(key)
        row = self._connection.one(_READ[table], (store, column))
        return str(row["value"]) if row else None

    def set(self, store: str, key: str, value: str, *, who: str, origin: str, now: datetime) -> None:
        """Changes a setting. Raises BadValue for a key or value that cannot be; "" unsets the stock buffer."""
        value = _checked(key, value)
        with self._connection.transaction():
            if value != self.get(store, key):
                self._write(store, key, value, self._revisions.begin(Author(who, origin, now)))

    def _write(self, store: str, key: str, value: str, revision: int) -> None:
        table, column = _place(key)
        self._connection.execute(_WRITE[table], (store, column, revision, value))

    def history(self, store: str, key: str) -> list[Change]:
        """Every change of a setting, oldest first; that of the stock buffer is `BufferBook.history` at level store."""
        found = self._connection.query(
            "SELECT r.id, r.at, r.who, r.origin, s.value FROM setting s JOIN revision r ON r.id = s.revision "
            "WHERE s.store = ? AND s.key = ? ORDER BY s.revision",
            (store, key),
        )
        return [Change(*row) for row in found]

    def log_requests(self, store: Store) -> bool:
        """Whether "Log Requests?" is on for the store."""
        return _SWITCHES[self.get(store.name, "log-requests") or _word(store.log_requests)]

    def enabled(self, store: Store) -> bool:
        """Whether the store takes part; files of a disabled one stay where they are."""
        return _SWITCHES[self.get(store.name, "enabled") or _word(store.enabled)]

    def effective(self, store: Store) -> dict[str, str]:
        """Every setting of a store as it applies, by key."""
        kept = {key: self.get(store.name, key) for key in KEYS}
        return {key: value if value is not None else configured(store)[key] for key, value in kept.items()}

    def differences(self, stores: Iterable[Store]) -> list[Difference]:
        """Where the journal holds something else than the configuration says."""
        return [
            Difference(store.name, key, value, kept)
            for store in stores
            for key, value in configured(store).items()
            if (kept := self.get(store.name, key)) is not None and kept != value
        ]


def configured(store: Store) -> dict[str, str]:
    """The first values of a store's settings as text, by key."""
    buffer = "" if store.stock_buffer is None else str(store.stock_buffer)
    return {"log-requests": _word(store.log_requests), "enabled": _word(store.enabled), "stock-buffer": buffer}


def _word(switch: bool) -> str:
    return "true" if switch else "false"


def _place(key: str) -> tuple[str, str]:
    if key not in KEYS:
        raise BadValue(f"{key!r} is not a setting", remedy=f"Take one of {', '.join(KEYS)}.")
    return ("buffer", "") if key == "stock-buffer" else ("setting", key)


def _checked(key: str, value: str) -> str:
    _place(key)
    if key == "stock-buffer":
        if value and parse(value) is None:  # blanks that were typed are a slip, only "" unsets
            raise BadValue(
                f"{value!r} is not a stock buffer", remedy='Give zero or a positive whole number, or "" for none.'
            )
        return trimmed(value)
    word = trimmed(value).lower()
    if word not in _SWITCHES:
        raise BadValue(f"{value!r} does not switch {key}", remedy="Give true or false.")
    return word
