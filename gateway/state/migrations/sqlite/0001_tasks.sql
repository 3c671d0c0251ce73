-- The hot row is narrow; what is large has a table of its own. Times are ms since 1970 UTC.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE workflow (
    workflow_id TEXT PRIMARY KEY,
    subject     TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    status      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE task (
    task_id        TEXT PRIMARY KEY,   -- sorts by the time of the submit
    subject        TEXT NOT NULL,
    agent          TEXT NOT NULL,
    session_id     TEXT NOT NULL,
    workflow_id    TEXT NOT NULL,
    mode           TEXT NOT NULL,
    labels         TEXT NOT NULL,      -- JSON
    priority       INTEGER NOT NULL,
    max_attempts   INTEGER NOT NULL,
    timeout_s      INTEGER NOT NULL,
    detach         TEXT NOT NULL,
    detach_after_s INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    status         TEXT NOT NULL,
    desire         TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    uncounted      INTEGER NOT NULL,
    owner          TEXT,
    epoch          INTEGER NOT NULL,
    sandbox_id     TEXT,
    started_at     INTEGER,
    ended_at       INTEGER,
    running_since  INTEGER,
    ran_ms         INTEGER NOT NULL,
    not_before     INTEGER NOT NULL,
    progress       TEXT,               -- JSON
    waiting_for    TEXT,               -- JSON
    wish_by        TEXT,
    wish_reason    TEXT,
    error_code     TEXT,
    error_message  TEXT,
    first_seq      INTEGER NOT NULL,
    last_seq       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX task_by_subject ON task (subject, task_id DESC);
CREATE INDEX task_by_workflow ON task (workflow_id, task_id DESC);
CREATE INDEX task_pending ON task (subject, priority DESC, task_id) WHERE status = 'pending';
CREATE INDEX task_owned ON task (owner) WHERE owner IS NOT NULL;

CREATE TABLE task_payload (
    task_id TEXT PRIMARY KEY,
    input   BLOB NOT NULL,             -- JSON, as are the next two
    result  BLOB,
    error   BLOB
) STRICT;

CREATE TABLE event (
    task_id TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    frame   BLOB NOT NULL,             -- the event's one JSON form
    final   INTEGER NOT NULL,
    PRIMARY KEY (task_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    subject     TEXT NOT NULL,
    key         TEXT NOT NULL,
    task_id     TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (subject, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);
