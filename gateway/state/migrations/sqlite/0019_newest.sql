-- The newest events of many tasks, in the order of their coming; see gateway/state/sqlite/newest.py.
CREATE TABLE newest_0 (
    n       INTEGER PRIMARY KEY,
    place   INTEGER NOT NULL,          -- a short number made of task_id
    task_id TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    frame   BLOB NOT NULL,
    final   INTEGER NOT NULL
) STRICT;
CREATE INDEX newest_0_by_place ON newest_0 (place);

CREATE TABLE newest_1 (
    n       INTEGER PRIMARY KEY,
    place   INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    frame   BLOB NOT NULL,
    final   INTEGER NOT NULL
) STRICT;
CREATE INDEX newest_1_by_place ON newest_1 (place);

-- Which of the two is added to, and up to where the other's events have been moved to their logs.
CREATE TABLE newest (filling INTEGER NOT NULL, moved INTEGER NOT NULL) STRICT;
INSERT INTO newest VALUES (0, 65536);
