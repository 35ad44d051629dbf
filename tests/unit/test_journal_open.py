"""The journal as a whole: its rooms share one connection, and a worker needs few of them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cegid_daemon.errors import JournalMissing
from cegid_daemon.journal import Journal


def test_the_rooms_share_one_transaction(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    staged = journal.payloads.stage_bytes([b"bytes"])
    with pytest.raises(ZeroDivisionError), journal.connection.transaction():
        journal.payloads.seal(staged)
        journal.search.enqueue(1, ["key"])
        journal.book.set("main", "store", "", "1", who="ann", now=datetime(2026, 1, 1, tzinfo=UTC), origin="cli")
        raise ZeroDivisionError
    for table in ("payload", "search_due", "buffer", "revision"):
        assert journal.connection.query(f"SELECT * FROM {table}") == []
    journal.checkpoint()
    journal.close()


def test_a_reader_beside_the_daemon_sees_what_is_committed(tmp_path: Path) -> None:
    with pytest.raises(JournalMissing):
        Journal.open(tmp_path / "journal.sqlite", readonly=True)
    journal = Journal.open(tmp_path / "journal.sqlite")
    beside = Journal.open(tmp_path / "journal.sqlite", readonly=True)
    journal.book.set("main", "store", "", "1", who="ann", now=datetime(2026, 1, 1, tzinfo=UTC), origin="cli")
    found = beside.book.get("main", "store", "")
    assert found is not None
    assert found.units == 1
    beside.close()
    journal.close()


def test_what_a_worker_needs_of_the_journal_loads_no_more_than_that() -> None:
    script = (
        "import sys, cegid_daemon.journal.reader, cegid_daemon.journal.book_reader\n"
        "print(sorted({'sqlite_utils', 'jinja2', 'cegid_daemon.journal.connection'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
