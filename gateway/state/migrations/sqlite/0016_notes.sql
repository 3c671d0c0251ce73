-- The flight recorder's notes. `note_id` is ordered by time.
CREATE TABLE note (
    note_id  TEXT PRIMARY KEY,
    at       INTEGER NOT NULL,      -- ms since 1970 UTC
    instance TEXT NOT NULL,
    about    TEXT NOT NULL,         -- a session's id or a task's; '' for the instance itself
    subject  TEXT NOT NULL,
    what     TEXT NOT NULL,
    data     TEXT NOT NULL          -- JSON
) STRICT, WITHOUT ROWID;

CREATE INDEX note_about ON note (about, note_id);
