-- Files, in sets: what was uploaded for a task is its set of epoch 0, what a run of it gave back that of the run's
-- epoch. A set without a task is on its way in, or is to be swept.
CREATE TABLE file_set (
    set_id   TEXT PRIMARY KEY,
    task_id  TEXT,
    epoch    INTEGER NOT NULL,
    added_at INTEGER NOT NULL          -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX file_set_by_task ON file_set (task_id, epoch) WHERE task_id IS NOT NULL;
CREATE INDEX file_set_of_nobody ON file_set (added_at) WHERE task_id IS NULL;

-- A file that is there whole.
CREATE TABLE file (
    set_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    path   TEXT NOT NULL,
    size   INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (set_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE file_piece (
    set_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    part   INTEGER NOT NULL,
    data   BLOB NOT NULL,
    PRIMARY KEY (set_id, number, part)
) STRICT;
