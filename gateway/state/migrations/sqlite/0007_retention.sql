-- Ended tasks and workflows that nothing belongs to any more go whole, oldest first.
CREATE INDEX task_ended ON task (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX workflow_by_age ON workflow (updated_at);
