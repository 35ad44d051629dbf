"""A journal that was taken back: by a restored backup, or by the loss of its write-ahead log. Reported once, plainly.

The daemon starts all the same. Messages that were open may have been delivered since, so they are held; those behind
them go on. What else may come twice is told.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from cegid_daemon.clock import age
from cegid_daemon.journal import Journal
from cegid_daemon.journal.continuity import TakenBack
from cegid_daemon.model import Fault

log = logging.getLogger(__name__)

KIND, SUBJECT, LOG_REMOVED = "journal", "taken back", "write-ahead log"
_SHOWN_FOR = timedelta(days=7)
_HELD = Fault(
    "TakenBack", "the journal was taken back while this message was open",
    why="it may have been delivered since",
    remedy="Look in the target and in processed/ whether it arrived, then `discard` it, or `release` it to send it.",
)  # fmt: skip
_TWICE = (
    'Files that still lie in a source or are dropped again, files of sources with after = "leave", and orders that an '
    "API is asked for again (unless `unique` is set) may be sent twice. Compare the targets and processed/ with "
    "`cegid-daemon log list`, and set buffers and settings that were changed since again. See docs/operations.md."
)


def report_taken_back(journal: Journal, now: datetime) -> None:
    """For the start: holds what was open and tells what happened, if the journal was taken back since the last one."""
    found = journal.continuity.taken_back()
    journal.notices.clear(KIND, LOG_REMOVED)  # its remedy was this start
    if found is None:
        return
    newest = journal.continuity.newest_entry()
    with journal.connection.transaction():
        held = journal.continuity.settle(_HELD)
        since = f"since {_text(newest)}" if newest else "before"
        text = f"{_what(found)}. Committed work may be missing: what was received, delivered and decided {since}. "
        if held:
            text += f"{len(held)} message(s) were open in it and are held, as they may have been delivered since: "
            text += "look whether they arrived, then `discard` or `release` them (`cegid-daemon status`). "
        journal.notices.report(KIND, SUBJECT, text + _TWICE, now)
    log.warning("%s%s%s", text[0].upper(), text[1:], _TWICE)


def expire_report(journal: Journal, now: datetime) -> None:
    """After a week it is no news any more; messages that are held stay so."""
    for notice in journal.notices.active():
        if (notice.kind, notice.subject) == (KIND, SUBJECT) and age(notice.last_at, now) >= _SHOWN_FOR:
            journal.notices.clear(KIND, SUBJECT)


def guard_log(journal: Journal, now: datetime) -> None:
    """Saves what a write-ahead log holds that somebody removed while the daemon writes it, and tells."""
    if not journal.connection.log_is_missing():
        return
    journal.checkpoint()
    text = (
        f"the write-ahead log of {journal.connection.path} was removed while the daemon runs. What it held is saved in "
        "the journal; other programs do not see what is written from now on. Restart the daemon now"
    )
    if journal.notices.report(KIND, LOG_REMOVED, f"{text}.", now):
        log.error("%s%s.", text[0].upper(), text[1:])


def _what(found: TakenBack) -> str:
    if found.backup_made_at is not None:
        lacks = f"; it lacks {found.commits} commit(s) made until {_text(found.until)}" if found.commits else ""
        return f"the journal was restored from the backup made at {_text(found.backup_made_at)}{lacks}"
    if found.commits is None:
        return f"the journal is not the one that was here until {_text(found.until)}"
    cause = "an older copy was put in its place"
    if not found.has_log:
        cause = f"its write-ahead log (-wal) was removed, or {cause}"
    return f"the journal lacks {found.commits} commit(s) made until {_text(found.until)}: {cause}"


def _text(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"
