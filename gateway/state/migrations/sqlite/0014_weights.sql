-- What a task takes of its subject's room, in bytes: its input at first, all of it since its end.
ALTER TABLE task ADD COLUMN stored_bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_weight ON task (subject, stored_bytes);
