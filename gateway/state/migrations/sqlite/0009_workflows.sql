-- What a workflow has come to. Its state has a table of its own: it is not written again with each change of the row.
ALTER TABLE workflow ADD COLUMN current_step TEXT NOT NULL DEFAULT 'initialized';
ALTER TABLE workflow ADD COLUMN step_history TEXT NOT NULL DEFAULT '[]';   -- JSON
ALTER TABLE workflow ADD COLUMN agent_states TEXT NOT NULL DEFAULT '{}';   -- JSON, each as a checkpoint's data
ALTER TABLE workflow ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';       -- JSON
ALTER TABLE workflow ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE workflow ADD COLUMN forked_from TEXT;
CREATE INDEX workflow_newest ON workflow (created_at, workflow_id);
CREATE INDEX workflow_by_subject ON workflow (subject, created_at, workflow_id);

CREATE TABLE workflow_state (
    workflow_id TEXT PRIMARY KEY,
    data        BLOB NOT NULL              -- JSON
) STRICT;
CREATE INDEX checkpoint_in_order ON checkpoint (workflow_id, checkpoint_id);
