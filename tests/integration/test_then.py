"""A past rewriting can be computed again to the byte, whatever template, layout, buffers and title are today."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from cegid_daemon.bootstrap import Installation, journal_path
from cegid_daemon.config import Config, load
from cegid_daemon.journal.book_reader import BookReader
from cegid_daemon.journal.reader import connect
from cegid_daemon.once import once
from cegid_daemon.resources import samples
from cegid_daemon.rewrite import rewrite
from cegid_daemon.rewrite.ports import Job
from cegid_daemon.starter import start


class Kept:
    """A sink that keeps the bytes of the only part."""

    def __init__(self) -> None:
        self.body = b""

    def part(self, no: int) -> Kept:
        assert no == 1
        return self

    def write(self, chunk: bytes) -> None:
        self.body += chunk

    def close(self) -> None:
        """Nothing is open."""

    def belongs(self, sku: str, product: str) -> None:
        """Learnt long ago."""

    def buffer(self, level: str, key: str, value: str, line: int) -> None:
        raise AssertionError("no layout here feeds buffers")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    start(tmp_path)
    text = (tmp_path / "cegid-daemon.toml").read_text().replace('match = "*.csv;*.CSV"', 'match = "*", settle = "0s"')
    (tmp_path / "cegid-daemon.toml").write_text(text)
    yield tmp_path


def carry(config: Config, name: str) -> None:
    shutil.copy(samples() / "STOCK.csv", config.folder / "inbox" / "inventory" / name)
    with Installation(config) as installation:
        crew = installation.crew(config, beat=lambda: None, stopping=lambda: False)
        outcome = once(crew.sources, clock=installation.clock, wait=lambda _seconds: False)
        assert outcome.well, outcome.faults
        crew.close()


def again(config: Config, message: int) -> bytes:
    """The rewriting of a past message, from what the journal keeps alone."""
    with Installation(config) as installation:
        ledger = installation.journal.ledger
        past = ledger.message(message)
        assert past is not None and past.recipe is not None and past.payload is not None
        assert isinstance(past.made_at, datetime) and past.revision is not None
        recipe, payload = installation.journal.recipes.one(past.recipe), past.payload
        job = Job(
            past.id, recipe.title, past.received_at, past.file_name, past.folder, past.route, past.store, past.made_at
        )
        sink, reader = Kept(), connect(journal_path(config), readonly=True)
        try:
            book = BookReader(reader, past.store, past.route, past.revision, past.id)
            rewrite(recipe, job, lambda: installation.journal.payloads.read(payload), book, sink)
        finally:
            reader.close()
    return sink.body


def test_a_past_rewriting_comes_out_to_the_byte_after_everything_changed(shop: Path) -> None:
    config = load(shop / "cegid-daemon.toml")
    carry(config, "first.csv")
    sent = (shop / "outbox" / "inventory" / "first.xml").read_bytes()

    template = shop / "templates" / "aurora" / "inventory-import.xml.j2"
    template.parent.mkdir(parents=True, exist_ok=True)
    template.write_text("<Other>{% for r in records %}<S n='{{ message.name }}'>{{ r.stock }}</S>{% endfor %}</Other>")
    toml = shop / "cegid-daemon.toml"
    toml.write_text(toml.read_text().replace('title = "Inventory Import"', 'title = "Changed"'))
    changed = load(toml)
    with Installation(changed) as installation:
        installation.journal.book.set(
            "main", "variation", "2000000000015", "7", who="test", origin="test", now=installation.clock()
        )
    carry(changed, "second.csv")

    assert b"Changed" in (shop / "outbox" / "inventory" / "second.xml").read_bytes()
    assert again(changed, 1) == sent
