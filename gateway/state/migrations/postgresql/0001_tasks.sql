-- The same tables as SQLite's; the hot row is narrow, what is large has a table of its own. Times are ms since 1970 UTC.
-- Texts compare by their bytes, whatever the database's own order is. JSON is kept as text, because jsonb refuses U+0000.
CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL);

CREATE TABLE workflow (
    workflow_id text COLLATE "C" PRIMARY KEY,
    subject     text COLLATE "C" NOT NULL,
    session_id  text COLLATE "C" NOT NULL,
    status      text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL
);
CREATE INDEX workflow_by_age ON workflow (updated_at);

CREATE TABLE task (
    task_id           text COLLATE "C" PRIMARY KEY,   -- sorts by the time of the submit
    subject           text COLLATE "C" NOT NULL,
    agent             text COLLATE "C" NOT NULL,
    session_id        text COLLATE "C" NOT NULL,
    workflow_id       text COLLATE "C" NOT NULL,
    mode              text COLLATE "C" NOT NULL,
    labels            text COLLATE "C" NOT NULL,      -- JSON
    priority          bigint NOT NULL,
    max_attempts      bigint NOT NULL,
    timeout_s         bigint NOT NULL,
    detach            text COLLATE "C" NOT NULL,
    detach_after_s    bigint NOT NULL,
    created_at        bigint NOT NULL,
    updated_at        bigint NOT NULL,
    status            text COLLATE "C" NOT NULL,
    desire            text COLLATE "C" NOT NULL,
    attempt           bigint NOT NULL,
    uncounted         bigint NOT NULL,
    owner             text COLLATE "C",
    epoch             bigint NOT NULL,
    sandbox_id        text COLLATE "C",
    started_at        bigint,
    ended_at          bigint,
    running_since     bigint,
    ran_ms            bigint NOT NULL,
    not_before        bigint NOT NULL,
    progress          text COLLATE "C",               -- JSON
    waiting_for       text COLLATE "C",               -- JSON
    wish_by           text COLLATE "C",
    wish_reason       text COLLATE "C",
    detached          boolean NOT NULL,
    watched           boolean NOT NULL,
    takes_input       boolean NOT NULL,
    inputs            bigint NOT NULL,
    input_bytes       bigint NOT NULL,
    input_given_bytes bigint NOT NULL,
    tty               text COLLATE "C",               -- JSON
    place             text COLLATE "C",               -- JSON: where a running task's session is,
    place_seq         bigint NOT NULL,                -- and how far what it said is in the log
    place_file        text COLLATE "C",
    error_code        text COLLATE "C",
    error_message     text COLLATE "C",
    first_seq         bigint NOT NULL,
    last_seq          bigint NOT NULL
) WITH (fillfactor = 70);                             -- room for updates of a row within its page

CREATE INDEX task_by_subject ON task (subject, task_id DESC);
CREATE INDEX task_by_workflow ON task (workflow_id, task_id DESC);
CREATE INDEX task_pending ON task (subject, priority DESC, task_id) WHERE status = 'pending';
CREATE INDEX task_owned ON task (owner) WHERE owner IS NOT NULL;
CREATE INDEX task_watched ON task (task_id) WHERE watched;
CREATE INDEX task_ended ON task (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX task_untrimmed ON task (ended_at) WHERE ended_at IS NOT NULL AND first_seq < last_seq;

CREATE TABLE task_label (
    task_id text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    value   text COLLATE "C" NOT NULL,
    PRIMARY KEY (task_id, key)
);
CREATE INDEX task_label_by_value ON task_label (key, value, task_id);

CREATE TABLE task_payload (
    task_id text COLLATE "C" PRIMARY KEY,
    input   bytea NOT NULL,                           -- JSON, as are the next two
    result  bytea,
    error   bytea
);

CREATE TABLE event (
    task_id text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    kind    text COLLATE "C" NOT NULL,
    frame   bytea NOT NULL,                           -- the event's one JSON form
    final   boolean NOT NULL,
    PRIMARY KEY (task_id, seq)
);

CREATE TABLE idempotency (
    subject     text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    task_id     text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (subject, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);
CREATE INDEX idempotency_by_task ON idempotency (task_id);

CREATE TABLE task_input (
    task_id text COLLATE "C" NOT NULL,
    n       bigint NOT NULL,                          -- 1, 2, 3 … per task
    key     text COLLATE "C",
    data    bytea NOT NULL,                           -- JSON
    eof     boolean NOT NULL,
    PRIMARY KEY (task_id, n)
);
CREATE UNIQUE INDEX task_input_by_key ON task_input (task_id, key) WHERE key IS NOT NULL;

-- Files, in sets: what was uploaded for a task is its set of epoch 0, what a run of it gave back that of the run's
-- epoch. A set without a task is on its way in, or is to be swept.
CREATE TABLE file_set (
    set_id   text COLLATE "C" PRIMARY KEY,
    task_id  text COLLATE "C",
    epoch    bigint NOT NULL,
    added_at bigint NOT NULL
);
CREATE UNIQUE INDEX file_set_by_task ON file_set (task_id, epoch) WHERE task_id IS NOT NULL;
CREATE INDEX file_set_of_nobody ON file_set (added_at) WHERE task_id IS NULL;

-- A file that is there whole.
CREATE TABLE file (
    set_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    path   text COLLATE "C" NOT NULL,
    size   bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    PRIMARY KEY (set_id, number)
);

CREATE TABLE file_piece (
    set_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    part   bigint NOT NULL,
    data   bytea NOT NULL,
    PRIMARY KEY (set_id, number, part)
);

-- What tasks have put up in their sandboxes. A site's label is a secret: its SHA-256 alone is kept.
CREATE TABLE site (
    label_hash bytea PRIMARY KEY,
    task_id    text COLLATE "C" NOT NULL,
    session_id text COLLATE "C" NOT NULL,             -- the sandbox's
    sandbox_id text COLLATE "C" NOT NULL,
    boot_id    text COLLATE "C" NOT NULL,
    host       text COLLATE "C",
    port       bigint NOT NULL,
    used_at    bigint NOT NULL
);
CREATE INDEX site_by_task ON site (task_id);
