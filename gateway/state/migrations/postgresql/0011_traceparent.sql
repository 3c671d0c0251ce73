-- The trace that a task's asker named (W3C Trace Context), where it did.
ALTER TABLE task ADD COLUMN traceparent text COLLATE "C";
