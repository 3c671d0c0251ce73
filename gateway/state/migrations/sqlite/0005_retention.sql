-- Logs of tasks that ended long ago are trimmed, oldest first; a task's idempotency key goes with it.
CREATE INDEX task_untrimmed ON task (ended_at) WHERE ended_at IS NOT NULL AND first_seq < last_seq;
CREATE INDEX idempotency_by_task ON idempotency (task_id);
