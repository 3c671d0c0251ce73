-- What tasks have put up in their sandboxes. A site's label is a secret: its SHA-256 alone is kept.
CREATE TABLE site (
    label_hash BLOB PRIMARY KEY,
    task_id    TEXT NOT NULL,
    session_id TEXT NOT NULL,          -- the sandbox's
    sandbox_id TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    host       TEXT,
    port       INTEGER NOT NULL,
    used_at    INTEGER NOT NULL        -- ms since 1970 UTC
) STRICT, WITHOUT ROWID;
