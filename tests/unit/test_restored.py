"""A journal that was taken back is noticed, told once, and holds what may have been delivered since."""

from __future__ import annotations

import logging
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from cegid_daemon.errors import JournalDamaged, JournalLogLost
from cegid_daemon.journal import Journal
from cegid_daemon.journal.backup import backup
from cegid_daemon.journal.failures import damaged
from cegid_daemon.journal.lost_log import lost_log
from cegid_daemon.journal.marker import marker, read_marker
from cegid_daemon.restored import LOG_REMOVED, expire_report, guard_log, report_taken_back
from tests.unit.spine import NOON, Spine


def path(spine: Spine) -> Path:
    return spine.folder / "journal.sqlite"


def start(spine: Spine) -> str:
    """What a start of the daemon reports."""
    spine.start()
    report_taken_back(spine.journal, spine.now)
    return "\n".join(one.text for one in spine.journal.notices.active() if one.kind == "journal")


def deliver(spine: Spine, name: str) -> None:
    spine.drop(name, name.encode())
    assert spine.look().delivered == 1


def copy_of(spine: Spine) -> Path:
    """A copy as `backup` makes it."""
    copy = spine.folder / "copy"
    backup(spine.journal.connection, copy)
    return copy


def test_a_start_where_the_last_one_ended_is_nothing_to_report(spine: Spine) -> None:
    deliver(spine, "a.csv")
    spine.close()
    assert start(spine) == ""
    deliver(spine, "b.csv")
    spine.close()
    marker(path(spine)).unlink()
    assert start(spine) == "", "a marker that is gone knows nothing"


def test_every_commit_is_remembered_beside_the_journal(spine: Spine) -> None:
    deliver(spine, "a.csv")
    [(generation, commits)] = spine.sql("SELECT generation, commits FROM journal_progress")
    known = read_marker(path(spine))
    assert known is not None
    assert (known.generation, known.commits) == (generation, commits)
    assert commits > 3
    assert "will not begin an empty one" in marker(path(spine)).read_text()


def test_a_write_ahead_log_removed_by_hand_is_told_with_what_may_be_missing(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(spine, "a.csv")
    spine.journal.checkpoint()
    shutil.copy(path(spine), spine.folder / "main")  # what is left of a killed daemon without its log
    deliver(spine, "b.csv")
    spine.close()
    shutil.copy(spine.folder / "main", path(spine))
    told = start(spine)
    assert "commit(s) made until" in told
    assert "its write-ahead log (-wal) was removed, or an older copy was put in its place" in told
    assert "Committed work may be missing" in told
    assert sum("Committed work may be missing" in one.getMessage() for one in caplog.records) == 1
    deliver(spine, "c.csv")
    spine.close()
    caplog.clear()
    assert start(spine) == told, "it is shown on"
    assert caplog.records == [], "and not told again"


def test_a_restored_backup_is_told_with_its_time_and_what_to_do(spine: Spine) -> None:
    deliver(spine, "a.csv")
    copy = copy_of(spine)
    deliver(spine, "b.csv")
    spine.close()
    shutil.copy(copy, path(spine))
    told = start(spine)
    assert "the journal was restored from the backup made at 20" in told
    assert "it lacks" in told
    assert "since 2026-11-23 12:00:00 UTC" in told
    assert all(word in told for word in ("may be sent twice", "`unique`", 'after = "leave"', "processed/", "buffers"))
    deliver(spine, "c.csv")


def test_a_backup_on_a_machine_that_never_had_the_journal_is_told_too(spine: Spine) -> None:
    deliver(spine, "a.csv")
    copy = copy_of(spine)
    spine.close()
    marker(path(spine)).unlink()
    shutil.copy(copy, path(spine))
    assert "restored from the backup made at" in start(spine)


def test_another_journal_in_its_place_is_told(spine: Spine, tmp_path: Path) -> None:
    deliver(spine, "a.csv")
    spine.close()
    (tmp_path / "other").mkdir()
    Journal.open(tmp_path / "other" / "journal.sqlite").close()
    shutil.copy(tmp_path / "other" / "journal.sqlite", path(spine))
    assert "is not the one that was here until" in start(spine)


def test_a_newer_journal_that_comes_back_after_an_older_one_is_told(spine: Spine) -> None:
    deliver(spine, "a.csv")
    copy = copy_of(spine)
    deliver(spine, "b.csv")
    spine.close()
    shutil.copy(path(spine), spine.folder / "newer")
    shutil.copy(copy, path(spine))
    start(spine)
    deliver(spine, "c.csv")
    spine.close()
    shutil.copy(spine.folder / "newer", path(spine))
    assert "is not the one that was here until" in start(spine)


def test_a_command_that_opens_it_first_does_not_swallow_the_report(spine: Spine) -> None:
    deliver(spine, "a.csv")
    copy = copy_of(spine)
    deliver(spine, "b.csv")
    spine.close()
    shutil.copy(copy, path(spine))
    reading = Journal.open(path(spine), readonly=True)
    assert reading.continuity.is_behind()
    reading.close()
    command = Journal.open(path(spine), checkpoints=False)
    command.connection.execute("INSERT INTO folder_made VALUES ('e', 'f', 'now')")
    command.close()
    assert "it lacks" in start(spine)
    assert not spine.journal.continuity.is_behind()


def test_what_was_open_is_held_and_those_behind_it_go_on(spine: Spine) -> None:
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"one")
    spine.look()
    copy = copy_of(spine)
    spine.outbox.make_folder("out")
    spine.after(hours=1)
    assert spine.look().delivered == 1
    spine.close()
    shutil.copy(copy, path(spine))
    told = start(spine)
    assert "1 message(s) were open in it and are held" in told
    deliver(spine, "b.csv")
    assert spine.states() == ["held", "done"]
    spine.desk().discard(1)
    assert spine.states() == ["discarded", "done"]
    assert sorted(spine.out()) == ["a.xml", "b.xml"]


def test_a_held_message_is_sent_when_a_person_says_so(spine: Spine) -> None:
    spine.outbox.drop_folder("out")
    spine.drop("a.csv", b"one")
    spine.look()
    copy = copy_of(spine)
    spine.close()
    shutil.copy(copy, path(spine))
    start(spine)
    spine.outbox.make_folder("out")
    spine.after(hours=1)
    assert spine.look().delivered == 0
    spine.desk().release(1)
    assert spine.look().delivered == 1


def test_another_log_made_since_does_not_hide_that_it_was_removed(spine: Spine) -> None:
    deliver(spine, "a.csv")
    log = path(spine).with_name("journal.sqlite-wal")
    aside = log.rename(log.with_name("aside"))
    log.touch()
    guard_log(spine.journal, NOON)
    assert [notice.subject for notice in spine.journal.notices.active()] == [LOG_REMOVED]
    aside.unlink()


@pytest.mark.parametrize("left", ["nothing", "an empty one"])
def test_a_removed_log_is_no_damage_to_whoever_reads_beside_the_daemon(spine: Spine, left: str) -> None:
    deliver(spine, "a.csv")
    assert lost_log(path(spine)) is None
    log = path(spine).with_name("journal.sqlite-wal")
    log.unlink()
    if left != "nothing":
        log.touch()
    found = damaged(path(spine), "Page 17: unable to get the page. error code=522")
    assert isinstance(found, JournalLogLost)
    assert "Restart the daemon" in str(found)
    spine.journal.checkpoint()
    with path(spine).open("r+b") as opened:
        opened.seek(4096 * 3)
        opened.write(b"\xff" * 4096 * 3)
    assert isinstance(damaged(path(spine), "x"), JournalDamaged), "what is damaged too is called so"


def test_a_log_that_is_removed_while_the_daemon_runs_is_saved_and_told_once(
    spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    deliver(spine, "a.csv")
    guard_log(spine.journal, NOON)
    assert spine.journal.notices.active() == []
    path(spine).with_name("journal.sqlite-wal").unlink()
    for _ in range(3):
        guard_log(spine.journal, NOON)
    assert len(caplog.records) == 1
    assert "Restart the daemon" in caplog.text
    shutil.copy(path(spine), spine.folder / "main")
    (spine.folder / "elsewhere").mkdir()
    shutil.copy(path(spine), spine.folder / "elsewhere" / "journal.sqlite")
    saved = Journal.open(spine.folder / "elsewhere" / "journal.sqlite")
    assert [row[0] for row in saved.connection.query("SELECT state FROM message")] == ["done"]
    saved.close()
    report_taken_back(spine.journal, NOON)  # as a start does
    assert LOG_REMOVED not in [notice.subject for notice in spine.journal.notices.active()]


def test_the_report_is_shown_for_a_week(spine: Spine) -> None:
    deliver(spine, "a.csv")
    copy = copy_of(spine)
    spine.close()
    shutil.copy(copy, path(spine))
    assert start(spine)
    expire_report(spine.journal, NOON + timedelta(days=6))
    assert len(spine.journal.notices.active()) == 1
    expire_report(spine.journal, NOON + timedelta(days=8))
    assert spine.journal.notices.active() == []
