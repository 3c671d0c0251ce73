-- The flight recorder's notes. `note_id` is ordered by time.
CREATE TABLE note (
    note_id  text COLLATE "C" PRIMARY KEY,
    at       bigint NOT NULL,                         -- ms since 1970 UTC
    instance text COLLATE "C" NOT NULL,
    about    text COLLATE "C" NOT NULL,               -- a session's id or a task's; '' for the instance itself
    subject  text COLLATE "C" NOT NULL,
    what     text COLLATE "C" NOT NULL,
    data     text COLLATE "C" NOT NULL                -- JSON
);

CREATE INDEX note_about ON note (about, note_id);
