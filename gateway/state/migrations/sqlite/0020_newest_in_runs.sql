-- Where each task's newest events are, a run of them at a time; see gateway/state/sqlite/newest.py.
DROP INDEX newest_0_by_place;
DROP INDEX newest_1_by_place;

CREATE TABLE newest_0_place (
    run   INTEGER NOT NULL,            -- the first `n` that it is to find
    place INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (run, place, n)
) STRICT, WITHOUT ROWID;
INSERT INTO newest_0_place SELECT 0, place, n FROM newest_0;

CREATE TABLE newest_1_place (
    run   INTEGER NOT NULL,
    place INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (run, place, n)
) STRICT, WITHOUT ROWID;
INSERT INTO newest_1_place SELECT 0, place, n FROM newest_1;

-- From which `n` on the table that is added to is in no run yet.
ALTER TABLE newest ADD COLUMN sorted INTEGER NOT NULL DEFAULT 0;
UPDATE newest SET sorted = 1 + max((SELECT ifnull(max(n), 0) FROM newest_0), (SELECT ifnull(max(n), 0) FROM newest_1));
