-- The instances that share this store: each lives until its lease is over, by the store's clock.
CREATE TABLE instance (
    instance    TEXT PRIMARY KEY,
    lease_until INTEGER NOT NULL,      -- ms since 1970 UTC
    about       TEXT NOT NULL          -- JSON: what it tells the others of itself
) STRICT, WITHOUT ROWID;

CREATE INDEX task_running ON task (subject) WHERE status = 'running';
