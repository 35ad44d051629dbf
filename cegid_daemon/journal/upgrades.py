"""Changes of the journal's tables since version 0.1: each migration with its statements.

Importing this module completes the list in `schema`; a new migration is added at the end here. The statements keep to
what SQLite and PostgreSQL share wherever they can.
"""

from __future__ import annotations

from sqlite_utils import Database

from cegid_daemon.journal.schema import apply_statements, migrations

__all__ = ["migrations"]


@migrations()
def m011_waiting_files(db: Database) -> None:
    """Files that were seen and cannot be taken yet; held messages that let those behind them pass."""
    apply_statements(
        db,
        """
        CREATE TABLE waiting_file (            -- a file of a source that was seen and cannot be taken yet
            place TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL,
            size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
            reason TEXT NOT NULL,              -- model.WaitReason
            detail TEXT NOT NULL,              -- the error, or what it waits for
            first_seen TEXT NOT NULL,
            after_message INTEGER NOT NULL,    -- the newest message when it was first seen: later ones overtook it
            PRIMARY KEY (place, folder, name)
        );
        ALTER TABLE message ADD COLUMN lets_pass INTEGER NOT NULL DEFAULT 0;  -- held, and those behind it go on
        """,
    )


@migrations()
def m012_notices(db: Database) -> None:
    """What a person should know that belongs to no message."""
    apply_statements(
        db,
        """
        CREATE TABLE notice (
            kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
            first_at TEXT NOT NULL, last_at TEXT NOT NULL, times INTEGER NOT NULL DEFAULT 1,
            PRIMARY KEY (kind, subject)
        );
        """,
    )
