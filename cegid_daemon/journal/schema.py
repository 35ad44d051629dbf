"""The tables of the journal, as ordered migrations; each is applied once, in one transaction.

Times are `utc_text`; names are `escape_name`d; JSON columns are text. A change to the schema is a new migration at the
end of `upgrades`, never an edit of one that was released.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("cegid_daemon")

_LEDGER = """
CREATE TABLE folder_made (             -- folders made once; one that is missing later is a fault, not made again
    endpoint TEXT NOT NULL, folder TEXT NOT NULL, made_at TEXT NOT NULL,
    PRIMARY KEY (endpoint, folder)
) WITHOUT ROWID;

CREATE TABLE source (                  -- one file taken from an endpoint; routes with the same source share it
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,            -- its name in the configuration
    place TEXT NOT NULL,               -- Endpoint.where: the place itself
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    state TEXT NOT NULL,               -- model.SourceState
    filed_folder TEXT NOT NULL DEFAULT '',
    filed_name TEXT NOT NULL DEFAULT '',
    taken_at TEXT NOT NULL
);
CREATE UNIQUE INDEX source_here ON source (place, folder, name) WHERE state IN ('lying', 'filing');
CREATE INDEX source_left ON source (place, folder, name) WHERE state = 'left';

CREATE TABLE recipe (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE recipe_text (sha256 TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE payload (                 -- bytes, once per content
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    codec TEXT NOT NULL DEFAULT 'zstd',
    sealed INTEGER NOT NULL DEFAULT 0,
    redacted INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX payload_content ON payload (sha256, redacted) WHERE sealed = 1;
CREATE INDEX payload_unsealed ON payload (id) WHERE sealed = 0;
CREATE TABLE payload_chunk (
    payload INTEGER NOT NULL REFERENCES payload (id) ON DELETE CASCADE,
    no INTEGER NOT NULL,
    raw_from INTEGER NOT NULL,         -- offset of its first byte in the uncompressed payload
    body BLOB NOT NULL                 -- a zstd frame of its own, at most 1 MiB uncompressed
);
CREATE UNIQUE INDEX payload_chunk_no ON payload_chunk (payload, no);

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,          -- ULID, for whatever leaves this machine
    route TEXT NOT NULL,
    store TEXT NOT NULL,
    seq INTEGER NOT NULL,              -- the order within its route
    state TEXT NOT NULL,               -- model.State
    source INTEGER REFERENCES source (id),
    folder TEXT NOT NULL,              -- of the source file, kept when there is no source (a replay)
    file_name TEXT NOT NULL,
    payload INTEGER REFERENCES payload (id),
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    logged INTEGER NOT NULL,           -- "Log Requests?" at claim
    recipe INTEGER REFERENCES recipe (id),
    revision INTEGER,                  -- the buffers it was rewritten with
    made_at TEXT,                      -- the template's `now`
    rewrite_starts INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try_at TEXT,
    first_failed_at TEXT,
    coverage TEXT,
    error TEXT,                        -- model.Fault as JSON
    replay_of INTEGER REFERENCES message (id),
    replay_as TEXT NOT NULL DEFAULT '',
    answer_to INTEGER REFERENCES message (id),
    received_at TEXT NOT NULL,
    closed_at TEXT
);
CREATE UNIQUE INDEX message_due ON message (route, seq) WHERE closed_at IS NULL;
CREATE INDEX message_route ON message (route, seq);
CREATE INDEX message_aside ON message (state) WHERE state NOT IN ('done');
CREATE INDEX message_source ON message (source);
CREATE INDEX message_payload ON message (payload);
CREATE INDEX message_replay ON message (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX message_received ON message (received_at);
CREATE INDEX message_kept ON message (route, closed_at) WHERE payload IS NOT NULL AND state IN ('done', 'discarded');

CREATE TABLE part (
    id INTEGER PRIMARY KEY,
    message INTEGER NOT NULL REFERENCES message (id),
    no INTEGER NOT NULL,
    payload INTEGER REFERENCES payload (id),
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    records INTEGER NOT NULL
);
CREATE UNIQUE INDEX part_no ON part (message, no);
CREATE INDEX part_payload ON part (payload);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    part INTEGER NOT NULL REFERENCES part (id),
    message INTEGER NOT NULL REFERENCES message (id),
    endpoint TEXT NOT NULL,
    place TEXT NOT NULL,               -- Endpoint.where at the time the parts were recorded
    folder TEXT NOT NULL,
    name TEXT NOT NULL,                -- the final name; a version of it once put aside under `exists = "version"`
    temporary TEXT NOT NULL,
    request_uid TEXT NOT NULL,
    state TEXT NOT NULL,               -- model.DeliveryState
    delivered_at TEXT
);
CREATE INDEX delivery_message ON delivery (message);
CREATE INDEX delivery_part ON delivery (part);
CREATE INDEX delivery_open ON delivery (endpoint) WHERE state NOT IN ('delivered', 'refused', 'cancelled');

CREATE TABLE attempt (                 -- append only: what was tried, and what came of it
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    message INTEGER NOT NULL REFERENCES message (id),
    delivery INTEGER REFERENCES delivery (id),
    step TEXT NOT NULL,                -- take | rewrite | deliver | file | mask
    outcome TEXT NOT NULL,             -- ok | waiting | failed | unsure
    detail TEXT NOT NULL,
    answer INTEGER REFERENCES payload (id)
);
CREATE INDEX attempt_message ON attempt (message);
CREATE INDEX attempt_answer ON attempt (answer) WHERE answer IS NOT NULL;

CREATE TABLE exported (                -- each record key once per route; inserted with the parts
    route TEXT NOT NULL, key TEXT NOT NULL, message INTEGER NOT NULL,
    PRIMARY KEY (route, key)
) WITHOUT ROWID;
CREATE INDEX exported_message ON exported (message);

CREATE TABLE decision (                -- what a person decided on a message
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
    message INTEGER REFERENCES message (id), reason TEXT NOT NULL DEFAULT ''
);

CREATE TABLE log_entry (               -- append only; outcome and error come by the view
    id INTEGER PRIMARY KEY,
    logged_at TEXT NOT NULL,
    message INTEGER NOT NULL REFERENCES message (id),
    part INTEGER REFERENCES part (id),
    delivery INTEGER REFERENCES delivery (id),
    store TEXT NOT NULL,
    integration TEXT NOT NULL,
    route TEXT NOT NULL,
    kind TEXT NOT NULL,
    variant TEXT NOT NULL,
    name TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    file_name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    payload INTEGER REFERENCES payload (id)
);
CREATE INDEX log_entry_route ON log_entry (route, id);
CREATE INDEX log_entry_message ON log_entry (message);
CREATE INDEX log_entry_time ON log_entry (logged_at);
CREATE INDEX log_entry_payload ON log_entry (payload);

CREATE VIEW api_integration_log AS
SELECT e.id, e.logged_at, e.store, e.integration, e.route, e.message AS message_id, e.kind, e.variant, e.name,
       p.no AS part, e.endpoint, coalesce(d.name, e.file_name) AS file_name, e.size, e.sha256,
       CASE WHEN e.variant = 'Modified' AND d.state = 'delivered' THEN 'ok'
            WHEN e.variant = 'Modified' AND d.state = 'unsure' THEN 'unsure'
            WHEN e.variant = 'Modified' AND d.state IN ('refused', 'cancelled') THEN 'failed'
            WHEN m.state IN ('delivered', 'done') THEN 'ok'
            WHEN m.state IN ('failed', 'discarded') THEN 'failed'
            WHEN m.state IN ('held', 'unsure') THEN m.state
            ELSE 'waiting' END AS outcome,
       CASE WHEN e.variant = 'Modified' AND d.state = 'delivered' THEN NULL
            ELSE json_extract(m.error, '$.text') END AS error
FROM log_entry e JOIN message m ON m.id = e.message
LEFT JOIN part p ON p.id = e.part LEFT JOIN delivery d ON d.id = e.delivery;
"""

_BOOK = """
CREATE TABLE contact (                 -- when an endpoint last answered, or since when it does not
    endpoint TEXT PRIMARY KEY, ok_at TEXT, failing_since TEXT, error TEXT
) WITHOUT ROWID;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE revision (                -- an edit, or a whole import, of buffers, catalogue or settings
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, who TEXT NOT NULL, origin TEXT NOT NULL
);
CREATE TABLE buffer (                  -- a row per change; what applies at revision R is the newest row <= R
    store TEXT NOT NULL, level TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (store, level, key, revision)
) WITHOUT ROWID;
CREATE TABLE catalogue (               -- which variation belongs to which product, by change as above
    store TEXT NOT NULL, variation TEXT NOT NULL, revision INTEGER NOT NULL, product TEXT NOT NULL,
    PRIMARY KEY (store, variation, revision)
) WITHOUT ROWID;
CREATE TABLE setting (                 -- log-requests, enabled; the store's stock buffer stands in buffer, level store
    store TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (store, key, revision)
) WITHOUT ROWID;
"""

_SEARCH = """
CREATE TABLE search_key (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE search_key_fts USING fts5 (key, content='search_key', content_rowid='id', tokenize='trigram');
CREATE TABLE search_posting (
    key INTEGER NOT NULL, message INTEGER NOT NULL, PRIMARY KEY (key, message)
) WITHOUT ROWID;
CREATE INDEX search_posting_message ON search_posting (message);
CREATE TABLE search_due (              -- keys of messages not yet in the index: a projection, built in slices
    message INTEGER PRIMARY KEY, keys BLOB NOT NULL
);
"""

_MASKING = """
ALTER TABLE message ADD COLUMN redact TEXT;  -- JSON list: fields to mask in its stored copies; NULL: none, or done
CREATE INDEX message_to_mask ON message (id) WHERE redact IS NOT NULL AND state IN ('done', 'discarded');
"""

_ANSWERS = """
CREATE TABLE follow_up (               -- deferred: acknowledged by the API, to be answered by a report later
    delivery INTEGER PRIMARY KEY REFERENCES delivery (id),
    message INTEGER NOT NULL REFERENCES message (id),
    reports TEXT NOT NULL,             -- JSON list of what to ask for
    since TEXT NOT NULL,
    next_at TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE rejected_file (           -- a file in CEGID's rejects folder that was looked into
    place TEXT NOT NULL, folder TEXT NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    message INTEGER REFERENCES message (id),  -- NULL: we did not send it
    seen_at TEXT NOT NULL,
    PRIMARY KEY (place, folder, name, size, mtime_ns, inode)
) WITHOUT ROWID;
CREATE INDEX message_answer ON message (answer_to) WHERE answer_to IS NOT NULL;
CREATE INDEX delivery_name ON delivery (name);
"""


_CARDS = """
CREATE TABLE server_card (             -- what a server said of itself when it was last asked
    place TEXT PRIMARY KEY, facts TEXT NOT NULL, tried TEXT NOT NULL, seen_at TEXT NOT NULL
) WITHOUT ROWID;
"""

_WORDS = """
CREATE VIRTUAL TABLE search_word USING fts5 (   -- rowid: the payload; the words are folded before they come here
    words, content='', detail=none, columnsize=0, tokenize='ascii'
);
INSERT INTO search_word (search_word, rank) VALUES ('automerge', 0);      -- merged in slices of our own
INSERT INTO search_word (search_word, rank) VALUES ('crisismerge', 1000);
CREATE VIRTUAL TABLE search_word_term USING fts5vocab (search_word, row);
CREATE TABLE search_word_content (payload INTEGER PRIMARY KEY);           -- whose words are in the index
CREATE TABLE search_word_due (message INTEGER PRIMARY KEY);
"""

_SORTING = """
CREATE INDEX log_entry_size ON log_entry (size, id);
CREATE INDEX log_entry_name ON log_entry (file_name COLLATE NOCASE, id);
"""

_FOLDER_MARK = """
ALTER TABLE delivery ADD COLUMN folder_mark TEXT NOT NULL DEFAULT '';  -- of the folder it was put aside in
"""

_PRODUCTS = "CREATE INDEX catalogue_product ON catalogue (store, product)"


@migrations()
def m001_ledger_and_log(db: Database) -> None:
    """Messages, their sources, parts, deliveries, payloads and log."""
    apply_statements(db, _LEDGER)


@migrations()
def m002_buffer_book(db: Database) -> None:
    """Buffers, catalogue and settings, with history."""
    apply_statements(db, _BOOK)


@migrations()
def m003_search(db: Database) -> None:
    """Search by SKU, order number and file name."""
    apply_statements(db, _SEARCH)


@migrations()
def m004_masking(db: Database) -> None:
    """Which messages owe a masked copy."""
    apply_statements(db, _MASKING)


@migrations()
def m005_answers(db: Database) -> None:
    """What the API still owes an answer to, and what CEGID refused."""
    apply_statements(db, _ANSWERS)


@migrations()
def m006_server_cards(db: Database) -> None:
    """What each server can do, so that a change is noticed."""
    apply_statements(db, _CARDS)


@migrations()
def m007_words(db: Database) -> None:
    """Search by words of the contents."""
    apply_statements(db, _WORDS)


@migrations()
def m008_sorting(db: Database) -> None:
    """The log by size and by file name."""
    apply_statements(db, _SORTING)


@migrations()
def m009_folder_mark(db: Database) -> None:
    """Whether the folder of a delivery is still the one it was put aside in."""
    apply_statements(db, _FOLDER_MARK)


@migrations()
def m010_products(db: Database) -> None:
    """The catalogue by product."""
    apply_statements(db, _PRODUCTS)


def apply_statements(db: Database, script: str) -> None:
    """Runs each statement inside the migration's own transaction (`executescript` would commit it)."""
    without_comments = "\n".join(line.partition("--")[0] for line in script.splitlines())
    for statement in without_comments.split(";"):
        if statement.strip():
            db.conn.execute(statement)
