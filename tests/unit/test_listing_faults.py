"""What is wrong with a listing: told once, in every place, and no reason to wait for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from cegid_daemon.endpoints.listing import Listing
from cegid_daemon.errors import Absent, SourceChanged
from cegid_daemon.listing_faults import clear_other_places
from cegid_daemon.model import Identity, Listed
from tests.unit.spine import Spine

LINE = "-rw-r--r--    1 0        0             309 yesterday STOCK.csv"


def lists(spine: Spine, *, unread: tuple[str, ...] = (), more: tuple[Listed, ...] = ()) -> None:
    """From now on the inbox lists these lines and entries besides what lies there."""
    usual = type(spine.inbox).list

    def listing(folder: str, wanted: Callable[[str], bool] | None = None) -> Listing:
        return Listing([*usual(spine.inbox, folder), *more], unread)

    spine.inbox.list = listing


def one_pass(spine: Spine) -> Any:
    outcome, _ = spine.once()
    return outcome


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING)
    return caplog


def notices(spine: Spine) -> list[tuple[str, str]]:
    return [(one.kind, one.text) for one in spine.journal.notices.active()]


def test_a_line_that_is_not_understood_is_told_once_and_the_other_files_go_on(
    spine: Spine, log: pytest.LogCaptureFixture
) -> None:
    lists(spine, unread=(LINE,))
    spine.drop("a.csv", b"a")
    for _ in range(3):
        passed = spine.look()
        assert [LINE in str(fault) for fault in passed.faults] == [True]
    assert spine.out() == {"a.xml": b"a"}
    assert len([one for one in log.messages if "yesterday" in one]) == 1
    ((kind, text),) = notices(spine)
    assert kind == "unread listing line"
    assert LINE in text
    lists(spine)
    assert spine.look().faults == []
    assert notices(spine) == []
    assert "understood again" in log.messages[-1]


def test_once_names_the_lines_and_is_not_well(spine: Spine) -> None:
    lists(spine, unread=(LINE, *(f"line {number}" for number in range(8))))
    outcome = one_pass(spine)
    assert not outcome.well
    assert LINE in outcome.faults[0]
    assert "6 more" in outcome.faults[-1]


@pytest.mark.parametrize("error", [Absent("cannot read the file", why="550 No such file"), SourceChanged("changed")])
def test_a_name_that_is_listed_and_denied_ends_once_backs_off_and_is_told(
    spine: Spine, log: pytest.LogCaptureFixture, error: Exception
) -> None:
    lists(spine, more=(Listed(" STOCK.csv", Identity(309)),))
    asked: list[str] = []
    usual = spine.inbox.read

    def read(folder: str, name: str, start: int = 0) -> Any:
        if name == " STOCK.csv":
            asked.append(name)
            raise error
        return usual(folder, name, start)

    spine.inbox.read = read
    spine.drop("a.csv", b"a")
    outcome = one_pass(spine)
    assert outcome.delivered == 1
    assert len(outcome.faults) == 1
    assert "' STOCK.csv'" in outcome.faults[0]
    assert len(asked) <= 3
    assert [kind for kind, _ in notices(spine)] == ["denied name"]
    told = len([one for one in log.messages if "STOCK" in one])
    assert told == 1
    before = len(asked)
    for _ in range(100):
        spine.after(seconds=2)
        spine.look()
    assert len(asked) - before < 8  # with growing pauses
    lists(spine)
    spine.look()
    assert notices(spine) == []
    assert spine.troubles.current() == {}


def test_a_file_that_somebody_takes_between_listing_and_reading_is_no_fault(spine: Spine) -> None:
    spine.inbox.lay("in", "a.csv", b"a")
    usual = spine.inbox.read

    def read(folder: str, name: str, start: int = 0) -> Any:
        spine.inbox.remove(folder, name)
        return usual(folder, name, start)

    spine.inbox.read = read
    outcome = one_pass(spine)
    assert outcome.faults == []
    assert notices(spine) == []


def test_a_denied_name_that_is_read_after_all_is_told_no_more(spine: Spine) -> None:
    spine.drop("a.csv", b"a")
    usual = spine.inbox.read
    spine.inbox.read = lambda *_: (_ for _ in ()).throw(Absent("not there"))
    assert not one_pass(spine).well
    spine.inbox.read = usual
    spine.after(minutes=20)
    spine.look()
    assert spine.out() == {"a.xml": b"a"}
    assert notices(spine) == []


def test_what_an_earlier_process_told_is_told_no_more_when_the_name_is_gone(spine: Spine) -> None:
    spine.journal.notices.report("denied name", f"{spine.sources[0].place}/x.csv", "…", spine.now)
    spine.journal.notices.report("denied name", "elsewhere/x.csv", "…", spine.now)
    spine.journal.notices.report("unread listing line", spine.sources[0].place, "…", spine.now)
    spine.look()
    assert [one.subject for one in spine.journal.notices.active()] == ["elsewhere/x.csv"]


def test_what_was_told_of_folders_that_nobody_looks_at_any_more_is_cleared(spine: Spine) -> None:
    report = spine.journal.notices.report
    for place in ("ftp:gone/in", "ftp:here/in"):
        report("unread listing line", place, "…", spine.now)
        report("denied name", f"{place}/x.csv", "…", spine.now)
    report("clock", "ftp:gone/in", "…", spine.now)
    clear_other_places(spine.journal, {"ftp:here/in"})
    assert {(one.kind, one.subject) for one in spine.journal.notices.active()} == {
        ("unread listing line", "ftp:here/in"), ("denied name", "ftp:here/in/x.csv"), ("clock", "ftp:gone/in"),
    }  # fmt: skip
