"""A notice is one row while it holds, counted, and new again only when its text changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cegid_daemon.journal import Journal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def test_a_notice_is_new_once_and_counted_while_it_holds(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    notices = journal.notices
    assert notices.report("listing", "ftp://cegid/out", "line 3 cannot be read", NOON)
    assert not notices.report("listing", "ftp://cegid/out", "line 3 cannot be read", LATER)
    assert notices.report("listing", "ftp://cegid/out", "line 4 cannot be read", LATER)
    (notice,) = notices.active()
    assert (notice.text, notice.first_at, notice.last_at, notice.times) == ("line 4 cannot be read", NOON, LATER, 3)
    notices.report("listing", "ftp://other", "x", LATER)
    notices.report("clock", "jump", "y", LATER)
    notices.clear_kind("listing", ["ftp://other"])
    assert [(one.kind, one.subject) for one in notices.active()] == [("clock", "jump"), ("listing", "ftp://other")]
    assert notices.clear("clock", "jump")
    assert not notices.clear("clock", "jump")
    journal.close()
