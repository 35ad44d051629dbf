"""Changes of the journal's tables since version 0.1: each migration with its statements.

Importing this module completes the list in `schema`; a new migration is added at the end here. The statements keep to
what SQLite and PostgreSQL share wherever they can.
"""

from __future__ import annotations

from sqlite_utils import Database
from ulid import ULID

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


@migrations()
def m027_refusals(db: Database) -> None:
    """How much of what arrived its receiver refused, as an outcome of its own in the log."""
    apply_statements(
        db,
        """
        ALTER TABLE message ADD COLUMN refusal TEXT NOT NULL DEFAULT '';   -- model.RefusalExtent
        CREATE INDEX message_refused ON message (id) WHERE refusal <> '';
        CREATE TABLE refusal (             -- what a receiver refused of a delivery
            delivery INTEGER PRIMARY KEY REFERENCES delivery (id),
            message INTEGER NOT NULL REFERENCES message (id),
            requests INTEGER NOT NULL,     -- that its answers spoke of
            refused INTEGER NOT NULL,      -- of them
            extent TEXT NOT NULL           -- model.RefusalExtent
        );
        CREATE INDEX refusal_message ON refusal (message);
        DROP VIEW api_integration_log;
        CREATE VIEW api_integration_log AS
        SELECT e.id, e.logged_at, e.store, e.integration, e.route, e.message AS message_id, e.kind, e.variant, e.name,
               p.no AS part, e.endpoint, coalesce(d.name, e.file_name) AS file_name, e.size, e.sha256,
               CASE WHEN e.variant = 'Modified' AND f.extent IS NOT NULL THEN f.extent
                    WHEN e.variant = 'Modified' AND d.state = 'delivered' THEN 'ok'
                    WHEN e.variant = 'Modified' AND d.state = 'unsure' THEN 'unsure'
                    WHEN e.variant = 'Modified' AND d.state IN ('refused', 'cancelled') THEN 'failed'
                    WHEN m.refusal <> '' AND m.state IN ('delivered', 'done') THEN m.refusal
                    WHEN m.refusal = 'refused' AND m.state = 'failed' THEN m.refusal
                    WHEN m.state IN ('delivered', 'done') THEN 'ok'
                    WHEN m.state IN ('failed', 'discarded') THEN 'failed'
                    WHEN m.state IN ('held', 'unsure') THEN m.state
                    ELSE 'waiting' END AS outcome,
               CASE WHEN e.variant = 'Modified' AND d.state = 'delivered' AND f.extent IS NULL THEN NULL
                    ELSE json_extract(m.error, '$.text') END AS error
        FROM log_entry e JOIN message m ON m.id = e.message
        LEFT JOIN part p ON p.id = e.part LEFT JOIN delivery d ON d.id = e.delivery
        LEFT JOIN refusal f ON f.delivery = e.delivery;
        """,
    )


@migrations()
def m017_route_moves(db: Database) -> None:
    """Which route took over the messages of which."""
    apply_statements(
        db,
        """
        CREATE TABLE route_move (              -- a route that is gone, and the one that took its messages over
            old TEXT PRIMARY KEY, new TEXT NOT NULL, at TEXT NOT NULL
        );
        """,
    )


@migrations()
def m019_journal_progress(db: Database) -> None:
    """How far the journal has come, so that one that was taken back is noticed."""
    apply_statements(
        db,
        """
        CREATE TABLE journal_progress (        -- one row
            generation TEXT NOT NULL,          -- a new one whenever the journal was taken back
            commits INTEGER NOT NULL           -- the marker beside the journal remembers the last one
        );
        """,
    )
    db.conn.execute("INSERT INTO journal_progress (generation, commits) VALUES (?, 0)", (str(ULID()),))


@migrations()
def m015_message_age(db: Database) -> None:
    """How old a message is in the order of its route, and which waiting files were overtaken."""
    apply_statements(
        db,
        """
        ALTER TABLE waiting_file ADD COLUMN overtaken INTEGER NOT NULL DEFAULT 0;  -- one behind it was claimed first
        ALTER TABLE message ADD COLUMN age INTEGER;  -- as old as the message with this seq; NULL: as its own
        """,
    )


@migrations()
def m021_temporary_patterns(db: Database) -> None:
    """Which temporary names each route gave and where, so that leftovers are known after a change of the pattern."""
    apply_statements(
        db,
        """
        CREATE TABLE temporary_pattern (
            route TEXT NOT NULL, place TEXT NOT NULL, folder TEXT NOT NULL,  -- of the target
            pattern TEXT NOT NULL,             -- relative to the folder, as `temporary` of the target has it
            PRIMARY KEY (route, place, folder, pattern)
        );
        """,
    )


@migrations()
def m025_remarks(db: Database) -> None:
    """How many remarks a message has: what is odd in its file but not wrong. The coverage says which."""
    apply_statements(
        db,
        """
        ALTER TABLE message ADD COLUMN remarks INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX message_remarks ON message (received_at) WHERE remarks > 0;
        """,
    )


@migrations()
def m013_recheck(db: Database) -> None:
    """Files that are looked at again after they were filed away, and those whose names others have taken."""
    apply_statements(
        db,
        """
        ALTER TABLE source ADD COLUMN recheck_until TEXT;  -- filed away, and looked at again until then
        CREATE INDEX source_recheck ON source (place, folder) WHERE recheck_until IS NOT NULL;
        CREATE INDEX source_earlier ON source (place, folder, name) WHERE state IN ('left', 'gone');
        """,
    )


@migrations()
def m018_owner_marks(db: Database) -> None:
    """Which folders bear our owner's mark."""
    apply_statements(
        db,
        """
        CREATE TABLE owner_mark (              -- a source folder that bears our mark, until no source uses it
            place TEXT NOT NULL, folder TEXT NOT NULL, PRIMARY KEY (place, folder)
        );
        """,
    )


@migrations()
def m016_interrupted_rewriting(db: Database) -> None:
    """Since when the starts of a rewriting were cut off by the end of the daemon."""
    apply_statements(db, "ALTER TABLE message ADD COLUMN rewrite_since TEXT")


@migrations()
def m020_waits_and_polls(db: Database) -> None:
    """When a wait was begun, and the polls of APIs by both clocks: a wall clock that was ahead must not rule."""
    apply_statements(
        db,
        """
        ALTER TABLE message ADD COLUMN wait_began_at TEXT;
        CREATE TABLE poll (                    -- complete polls of APIs: the last one, and those before a discontinuity
            id INTEGER PRIMARY KEY,
            source TEXT NOT NULL,
            began_at TEXT NOT NULL,
            boot TEXT NOT NULL,                -- clock.BootTime
            boot_seconds REAL NOT NULL
        );
        CREATE INDEX poll_source ON poll (source, id);
        INSERT INTO poll (source, began_at, boot, boot_seconds)
            SELECT substr(key, 6), value, '', 0 FROM about WHERE key LIKE 'poll %';
        """,
    )


@migrations()
def m032_waits_by_boot_clock(db: Database) -> None:
    """Since when files wait by the boot clock: a wall clock that jumps neither ends nor prolongs what they hold up."""
    apply_statements(
        db,
        """
        ALTER TABLE waiting_file ADD COLUMN boot TEXT NOT NULL DEFAULT '';  -- clock.BootTime
        ALTER TABLE waiting_file ADD COLUMN boot_seconds REAL NOT NULL DEFAULT 0;
        """,
    )
