-- The instances that share this database: each lives until its lease is over, by the server's clock.
CREATE TABLE instance (
    instance    text COLLATE "C" PRIMARY KEY,
    lease_until bigint NOT NULL,                      -- ms since 1970 UTC
    about       text COLLATE "C" NOT NULL             -- JSON: what it tells the others of itself
);

CREATE INDEX task_running ON task (subject) WHERE status = 'running';
