"""A store's integration settings: Stock Buffer, "Log Requests?", Enabled; each change recorded with who and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from cegid_daemon.console.bufferpages import the_store
from cegid_daemon.console.ground import Reading
from cegid_daemon.console.visit import Visit, back
from cegid_daemon.errors import Refused
from cegid_daemon.journal.revisions import Change
from cegid_daemon.journal.settings import KEYS, configured

TITLES = {"stock-buffer": "Stock Buffer", "log-requests": "Log Requests?", "enabled": "Enabled"}


@dataclass(frozen=True, slots=True)
class SettingRow:
    """A setting of a store as it applies."""

    key: str
    title: str
    value: str
    configured: str
    history: Sequence[Change]


def settings(visit: Visit) -> Response:
    """Every store."""
    with visit.reading() as reading:
        rows = {name: _rows(reading, visit, name) for name in visit.ground.config.stores}
    return visit.page("settings.html", stores=rows)


def _rows(reading: Reading, visit: Visit, name: str) -> list[SettingRow]:
    store = visit.ground.config.stores[name]
    effective, first = reading.book.settings.effective(store), configured(store)
    return [SettingRow(key, TITLES[key], effective[key], first[key], _history(reading, name, key)) for key in TITLES]


def _history(reading: Reading, store: str, key: str) -> list[Change]:
    changes = (
        reading.book.history(store, "store", "") if key == "stock-buffer" else reading.book.settings.history(store, key)
    )
    return list(changes)[::-1][:20]


def change(visit: Visit) -> Response:
    """Changes one setting."""
    store, key, value, ground = (
        the_store(visit, visit.typed("store")),
        visit.typed("key"),
        visit.typed("value"),
        visit.ground,
    )
    if key not in KEYS:
        raise Refused(f"{key!r} is not a setting", remedy="Open the page again.")
    ground.journal.book.settings.set(store, key, value, who=visit.who, origin="console", now=ground.clock())
    for route in ground.config.routes.values():
        if key == "enabled" and route.store == store:
            ground.wake(route.name)
    return back(visit, "/settings", f"{store}: {TITLES[key]} is now {value.strip() or 'not set'}.")
