"""How a journal file comes into being, and what is refused to pass for one.

A new journal is made aside and linked into place, so it appears whole; a marker beside it remembers that there was one,
so a journal that went missing is never replaced by an empty one in silence. Never touches a file that is there.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from sqlite_utils import Database

from cegid_daemon.errors import JournalDamaged, JournalError, JournalMissing, JournalNewer, JournalUnavailable, Place
from cegid_daemon.files import fsync_dir, fsync_file
from cegid_daemon.journal.marker import marker
from cegid_daemon.journal.upgrades import migrations

_MAGIC = b"SQLite format 3\x00"


def make_unless_there(path: Path) -> None:
    """Makes an empty journal if none is, or ever was, at `path`. Raises JournalMissing, JournalUnavailable."""
    if os.path.lexists(path):
        return
    traces = [marker(path), *(path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))]
    if left := [trace.name for trace in traces if trace.exists()]:
        raise _missing(path, left[0])
    try:
        _make(path)
    except (OSError, sqlite3.OperationalError) as exc:
        raise JournalUnavailable(
            "the journal cannot be made", where=Place(file=str(path)), why=str(exc),
            remedy="Give the daemon's user a state folder it may write to, with free space.",
        ) from exc  # fmt: skip


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".journal-") as aside:
        fresh = Path(aside) / path.name
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _fill(fresh)
        fsync_file(fresh)
        try:
            os.link(fresh, path)  # unlike a rename, never replaces one made by another process meanwhile
        except FileExistsError:
            return
    fsync_dir(path.parent)


def _fill(fresh: Path) -> None:
    raw = sqlite3.connect(fresh, isolation_level=None)
    try:
        raw.execute("PRAGMA page_size = 8192")
        raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
        raw.execute("PRAGMA synchronous = OFF")  # nobody knows the file yet: it is made durable once, as a whole
        raw.execute("BEGIN IMMEDIATE")
        migrations.apply(Database(raw, execute_plugins=False))
        raw.execute("COMMIT")
        raw.execute("PRAGMA journal_mode = WAL").fetchone()
    finally:
        raw.close()


def refuse_what_is_no_journal(path: Path) -> None:
    """Looks at the first bytes, so that a foreign or empty file is never written to."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError as exc:
        raise _missing(path, "") from exc
    except OSError as exc:
        raise JournalUnavailable(
            "the journal cannot be opened", where=Place(file=str(path)), why=exc.strerror or "",
            remedy="Run the command as the daemon's user: sudo -u USER cegid-daemon …",
        ) from exc  # fmt: skip
    if head != _MAGIC:
        raise _damaged(path, "the file is empty" if not head else "the file is not an SQLite database")


def pending_migrations(db: Database, path: Path) -> int:
    """How many migrations the journal lacks. Raises JournalNewer for one unknown, JournalDamaged if it has none."""
    applied = {migration.name for migration in migrations.applied(db)}
    if not applied:
        raise _damaged(path, "the file is an SQLite database, but no journal")
    ours = _known_migrations()
    if unknown := sorted(applied - ours):
        raise JournalNewer(
            "a newer cegid-daemon wrote this journal", where=Place(file=str(path)), why=f"it knows {unknown[0]}",
            remedy="Install that version again, or put a backup made by this version in its place.",
        )  # fmt: skip
    return len(ours - applied)


def _known_migrations() -> set[str]:
    nothing = sqlite3.connect(":memory:")
    try:
        return {migration.name for migration in migrations.pending(Database(nothing, execute_plugins=False))}
    finally:
        nothing.close()


def keep_from_others(path: Path) -> None:
    """Keeps others from reading the journal. Raises JournalUnavailable."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as exc:
        raise JournalUnavailable(
            "the state folder cannot be written", where=Place(file=str(path)), why=exc.strerror or "",
            remedy="Run the command as the daemon's user, and give that user the folder and all that is in it.",
        ) from exc  # fmt: skip


def _missing(path: Path, trace: str) -> JournalError:
    return JournalMissing(
        "the journal is missing",
        where=Place(file=str(path)),
        why=f"{trace} beside it says that there was one" if trace else "there is no such file",
        remedy=(
            f"Put a copy made by `cegid-daemon backup` in its place, or remove {trace} to begin anew."
            if trace
            else "Start the daemon once, or look at `state` in the configuration."
        ),
    )


def _damaged(path: Path, why: str) -> JournalDamaged:
    return JournalDamaged(
        "this is not a journal that can be used",
        where=Place(file=str(path)),
        why=why,
        remedy="Keep the file aside and put a copy made by `cegid-daemon backup` in its place.",
    )
