-- Where a running task's session is, and how far what it said is in the log: what a takeover needs to go on with it.
ALTER TABLE task ADD COLUMN place TEXT;                          -- JSON
ALTER TABLE task ADD COLUMN place_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN place_file TEXT;
