-- What agents want to have again. Large values are parts, kept once a workflow however many checkpoints have them.
CREATE TABLE checkpoint (
    checkpoint_id TEXT PRIMARY KEY,
    workflow_id   TEXT NOT NULL,
    task_id       TEXT NOT NULL,
    seq           INTEGER NOT NULL,        -- of the event that tells of it
    step_name     TEXT NOT NULL,
    agent_name    TEXT,
    data          BLOB NOT NULL,           -- JSON: the order of its keys, its parts by key, the rest
    metadata      TEXT NOT NULL,           -- JSON
    created_at    INTEGER NOT NULL         -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX checkpoint_by_place ON checkpoint (workflow_id, task_id, seq);

CREATE TABLE checkpoint_part (
    workflow_id TEXT NOT NULL,
    sha256      BLOB NOT NULL,
    data        BLOB NOT NULL,             -- JSON
    PRIMARY KEY (workflow_id, sha256)
) STRICT, WITHOUT ROWID;
