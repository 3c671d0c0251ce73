-- Pause, detach, and what is sent to a task while it runs.
ALTER TABLE task ADD COLUMN detached INTEGER NOT NULL DEFAULT 0;           -- the present wish is the detach policy's
ALTER TABLE task ADD COLUMN watched INTEGER NOT NULL DEFAULT 0;            -- the detach policy minds who watches
ALTER TABLE task ADD COLUMN takes_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN inputs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN input_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN input_given_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN tty TEXT;                                      -- JSON

CREATE INDEX task_watched ON task (task_id) WHERE watched = 1;

CREATE TABLE task_input (
    task_id TEXT NOT NULL,
    n       INTEGER NOT NULL,          -- 1, 2, 3 … per task
    key     TEXT,
    data    BLOB NOT NULL,             -- JSON
    eof     INTEGER NOT NULL,
    PRIMARY KEY (task_id, n)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX task_input_by_key ON task_input (task_id, key) WHERE key IS NOT NULL;
