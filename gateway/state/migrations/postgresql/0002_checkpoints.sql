-- What agents want to have again. Large values are parts, kept once a workflow however many checkpoints have them.
CREATE TABLE checkpoint (
    checkpoint_id text COLLATE "C" PRIMARY KEY,
    workflow_id   text COLLATE "C" NOT NULL,
    task_id       text COLLATE "C" NOT NULL,
    seq           bigint NOT NULL,             -- of the event that tells of it
    step_name     text COLLATE "C" NOT NULL,
    agent_name    text COLLATE "C",
    data          bytea NOT NULL,              -- JSON: the order of its keys, its parts by key, the rest
    metadata      text COLLATE "C" NOT NULL,   -- JSON
    created_at    bigint NOT NULL              -- ms since 1970 UTC
);
CREATE UNIQUE INDEX checkpoint_by_place ON checkpoint (workflow_id, task_id, seq);

CREATE TABLE checkpoint_part (
    workflow_id text COLLATE "C" NOT NULL,
    sha256      bytea NOT NULL,
    data        bytea NOT NULL,                -- JSON
    PRIMARY KEY (workflow_id, sha256)
);
