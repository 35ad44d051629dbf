"""What a route masks is nowhere for a viewer: on every page of the route table, in every state, in every error text."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from cegid_daemon.bootstrap import Installation, utc_now
from cegid_daemon.config import Config, load
from cegid_daemon.console.sessions import Role
from cegid_daemon.desk import Desk
from cegid_daemon.housekeeping import Housekeeping
from cegid_daemon.model import Fault
from tests.security.console_pages import Pages, addresses, carry, console
from tests.servers.places import free_port

MARK = "Xq7"  # stands in every masked value, and nowhere else
VALUES = {  # by the file's name: a value of MAIL that fails, or does not, and in another way each time
    "done": f"ann.{MARK}@shop.example", "again": f"bob.{MARK}@shop.example", "open": f"eve.{MARK}@shop.example",
    "long": f"{MARK}@{'l' * 60}", "number": f"{MARK}12", "date": f"{MARK}-02-30", "ean": f"{MARK}4006381333931",
    "kept": f"{MARK}-in-a-variable", "int": f"{MARK}!", "grouped": f"{MARK}-in-a-group", "char": f"{MARK}\u4e2d",
    "remarked": f"{MARK}-is-no-number", "plain": "nothing to hide",
    "sum": f"{MARK}9,x", "joined": f"{MARK}+joined", "lookup": f"{MARK}_field",
    "renamed": f"{MARK}-under-another-title",
}  # fmt: skip
TEMPLATE = """\
{% for r in records %}{{ r.CODE }};{{ r.NAME }}
{%- if r.HOW == 'long' %}{{ r.MAIL|fit(60) }}{% endif %}
{%- if r.HOW == 'number' %}{{ r.MAIL|decimal(2) }}{% endif %}
{%- if r.HOW == 'date' %}{{ r.MAIL|cegid_date }}{% endif %}
{%- if r.HOW == 'ean' %}{{ r.MAIL|ean }}{% endif %}
{%- if r.HOW == 'kept' %}{% set NAME = r.MAIL %}{{ NAME|fit(3) }}{% endif %}
{%- if r.HOW == 'int' %}{{ 'abc'.encode(r.MAIL) }}{% endif %}
{%- if r.HOW == 'grouped' %}{% for g in [r]|groupby('MAIL') %}{{ g.grouper|fit(3) }}{% endfor %}{% endif %}
{%- if r.HOW == 'char' %}{{ r.MAIL }}{% endif %}
{%- if r.HOW == 'remarked' %}{% set x = r.MAIL %}{{ x|int }}{% endif %}
{%- if r.HOW == 'joined' %}{{ (r.CODE ~ r.MAIL)|fit(3) }}{% endif %}
{%- if r.HOW == 'lookup' %}{{ r[r.MAIL] }}{% endif %};{{ r.MAIL }}
{% endfor %}"""
CONFIGURATION = """
state = "var"
[console]
listen = "127.0.0.1:8470"
password = {{ file = "secret" }}
viewer_password = {{ file = "secret2" }}
[store.main]
stock_buffer = 2
[endpoint.inbox]
url = "file:inbox"
[endpoint.same]
url = "file:{folder}/inbox/.."
[endpoint.outbox]
url = "file:outbox"
[endpoint.far]
url = "ftp://user@127.0.0.1:{port}/"
password = {{ file = "secret" }}
[layout.customers]
kind = "delimited"
sku = "r.CODE"
skip = "r.HOW == 'sum' and r.MAIL * 2 > 5"
[defaults]
source = {{ settle = "0s" }}
[route.customers]
title = "Customers"
store = "main"
source = {{ endpoint = "inbox", folder = "customers", match = "*.csv", settle = "0s" }}
layout = "customers"
template = "customers.csv.j2"
target = {{ endpoint = "outbox", folder = "customers", name = "{{{{ source.stem }}}}.csv" }}
output = {{ encoding = "cp1252" }}
log = {{ redact = ["MAIL"] }}
[route.waiting]
title = "Customers far away"
store = "main"
source = {{ endpoint = "inbox", folder = "waiting", settle = "0s" }}
layout = "customers"
template = "customers.csv.j2"
target = {{ endpoint = "far", folder = "customers", name = "{{{{ source.stem }}}}.csv" }}
log = {{ redact = ["MAIL"] }}
[route.beside]
title = "The same folder by another name"
store = "main"
source = {{ endpoint = "same", folder = "inbox/customers", match = "*.other", settle = "0s" }}
layout = "customers"
template = "customers.csv.j2"
target = {{ endpoint = "outbox", folder = "beside", name = "{{{{ source.stem }}}}.csv" }}
"""
QUERIES: dict[str, list[dict[str, str]]] = {
    "*": [{"part": "live"}, {"part": "1"}],
    "/log": [{"q": MARK}, {"q": VALUES["open"]}, {"outcome": "failed"}, {"size": "200"}],
    "/log/export.csv": [{"q": MARK}, {"q": VALUES["open"]}],
    "/log/scan": [{"q": MARK}, {"q": VALUES["open"]}],
    "/entry/{number:int}": [{"as": "bytes"}],
    "/message/{number:int}/pair": [{"key": VALUES["open"]}, {"key": VALUES["long"]}],
    "/buffers": [{"key": "1001"}, {"key": VALUES["open"]}],
    "/buffers/told": [{"key": "1001"}, {"key": VALUES["open"]}],
}


@dataclass
class Shop:
    """A console over messages in every state."""

    pages: Pages
    installation: Installation
    config: Config
    states: dict[str, int]
    log: str

    def all(self, method: str) -> list[str]:
        """Every address."""
        db = self.installation.journal.connection
        numbers = [str(row[0]) for table in ("message", "log_entry", "attempt") for row in
                   db.query(f"SELECT id FROM {table}")]  # fmt: skip
        values = {
            "number": sorted({*numbers, "9999"}, key=int), "route": list(self.config.routes),
            "what": ["replay", "release", "discard", "nothing"], "name": ["console.css", "nothing"],
        }  # fmt: skip
        return addresses(method, values, {**QUERIES, **self._files()})

    def _files(self) -> dict[str, list[dict[str, str]]]:
        found: list[dict[str, str]] = []
        for path in (self.config.folder / "inbox").rglob("*"):
            parts = path.relative_to(self.config.folder / "inbox").parts
            which = parts[1] if len(parts) > 2 else "inbox"
            day = parts[2] if which == "processed" else ""
            if path.is_file():
                found.append({"in": which, "day": day, "name": path.name})
        folders = [{"in": one} for one in ("inbox", "processed", "failed")]
        return {"/files/{route}": folders, "/files/{route}/view": found, "/files/{route}/save": found}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("hidden")
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("cegid_daemon").addHandler(handler)
    with ExitStack() as stack:
        stack.callback(logging.getLogger("cegid_daemon").removeHandler, handler)
        config = _configured(folder)
        installation = stack.enter_context(Installation(config))
        _drop(folder, "customers", "done")
        carry(installation, config)
        _keep_house(installation, config)  # masked
        for name in VALUES:
            if name not in ("done", "open", "plain"):
                _drop(folder, "customers", name)
        _drop(folder, "customers", "late.other", "plain")
        for name in ("a-waits", "held", "discarded", "behind"):
            _drop(folder, "waiting", name, "open")
        carry(installation, config)
        states = _decide(installation, config)
        _drop(folder, "customers", "lying", "open")
        pages = stack.enter_context(console(installation, config))
        yield Shop(pages, installation, config, states, "\n".join(records))


def _configured(folder: Path) -> Config:
    for name in ("templates", "inbox/customers", "inbox/waiting"):
        (folder / name).mkdir(parents=True)
    for name in ("secret", "secret2"):
        (folder / name).write_text(f"{name} of some length")
        (folder / name).chmod(0o600)
    (folder / "templates" / "customers.csv.j2").write_text(TEMPLATE, "utf-8")
    text = CONFIGURATION.format(folder=folder, port=free_port()).replace('[defaults]\nsource = { settle = "0s" }\n', "")
    (folder / "cegid-daemon.toml").write_text(text, "utf-8")
    return load(folder / "cegid-daemon.toml")


def _drop(folder: Path, route: str, name: str, how: str = "") -> None:
    how = how or name
    row = f"1001;{how};Ann;{VALUES[how]}"
    suffix = "" if "." in name else ".csv"
    title = "E-MAIL" if how == "renamed" else "MAIL"
    (folder / "inbox" / route / f"{name}{suffix}").write_text(f"CODE;HOW;NAME;{title}\n{row}\n", "utf-8")


def _keep_house(installation: Installation, config: Config) -> None:
    policies = {name: route.log for name, route in config.routes.items()}
    house = Housekeeping(installation.journal, policies, utc_now, lambda: False)
    while house.turn():
        pass


def _decide(installation: Installation, config: Config) -> dict[str, int]:
    """A message that waits, one that is held, one that was discarded and is not masked yet; how many in each state."""
    journal = installation.journal
    found = {row["file_name"]: row["id"] for row in journal.connection.query("SELECT id, file_name FROM message")}
    journal.ledger.hold_overtaken(found["held.csv"], Fault("Transient", "newer ones went out"))
    desk = Desk(journal, config.routes, config.stores, config.recipes, who="test", clock=utc_now)
    journal.ledger.hold_overtaken(found["discarded.csv"], Fault("Transient", "newer ones went out"))
    desk.discard(found["discarded.csv"], reason="a test")
    rows = journal.connection.query("SELECT state, count(*) FROM message GROUP BY state")
    return {row[0]: row[1] for row in rows}


def test_messages_are_in_every_state(shop):
    assert {"done", "failed", "held", "waiting", "discarded"} <= shop.states.keys(), shop.states
    errors = shop.installation.journal.connection.query("SELECT count(*) FROM message WHERE state = 'failed'")
    assert errors[0][0] >= len(VALUES) - 5, shop.log


def test_a_viewer_sees_no_masked_value_at_any_address_of_the_route_table(shop):
    token, _ = shop.pages.open(Role.VIEWER)
    paths = shop.all("GET")
    began, seen = time.monotonic(), []
    for path in paths:
        text = _without_search(shop.pages.ask("GET", path, token).text)
        seen += [f"{path}: {found[0]!r}" for found in islice(re.finditer(f"(?i).{{0,60}}{MARK}", text), 3)]
    assert seen == [], f"{len(seen)} of {len(paths)} in {time.monotonic() - began:.1f} s"


def _without_search(text: str) -> str:
    """A page without what the visitor themselves asked for: the search they typed, in its field and its links."""
    typed = "|".join(map(re.escape, {MARK, VALUES["open"], VALUES["long"]}))
    encoded = "|".join(re.escape(one.replace("@", "%40")) for one in (MARK, VALUES["open"], VALUES["long"]))
    return re.sub(
        rf"(q|key)=({encoded})(?=[&\"])|value=\"({typed})\"|“({typed})”|<(bdi|h1|strong|code)>({typed})</", "", text
    )


def test_an_operator_sees_what_is_to_be_repaired(shop):
    token, _ = shop.pages.open(Role.OPERATOR)
    assert MARK in shop.pages.ask("GET", "/files/customers/view?in=failed&name=long.csv", token).text


def test_a_viewer_finds_no_message_by_a_masked_value(shop):
    token, _ = shop.pages.open(Role.VIEWER)
    for value in (MARK, VALUES["open"], VALUES["long"], VALUES["again"]):
        for page in ("/log", "/log/scan"):
            assert "/message/" not in shop.pages.ask("GET", f"{page}?q={value}", token).text, (page, value)
    for message in range(1, 20):
        text = shop.pages.ask("GET", f"/message/{message}/pair?key={VALUES['open']}", token).text
        assert "record 1, line 2" not in text


def test_no_error_text_quotes_a_masked_value(shop):
    journal = shop.installation.journal
    tables = [row[0] for row in journal.connection.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
    told = [table for table in tables if table != "payload_chunk" and not table.startswith("search_word")]
    kept = [
        f"{table}: {tuple(row)!r}"
        for table in told
        for row in journal.connection.query(f"SELECT * FROM {table}")
        if MARK in repr(tuple(row))
    ]
    assert kept == []
    assert MARK not in shop.log
    beside = [path.read_text() for path in shop.config.folder.rglob("*.error.txt")]
    assert len(beside) >= len(VALUES) - 5
    assert not any(MARK in text for text in beside)


def test_an_error_text_still_says_where_and_why(shop):
    beside = {path.name: path.read_text() for path in shop.config.folder.rglob("*.error.txt")}
    assert "does not fit into 60" in beside["long.csv.error.txt"]
    assert "a value is no EAN" in beside["ean.csv.error.txt"]
    assert "MAIL" in beside["ean.csv.error.txt"]
