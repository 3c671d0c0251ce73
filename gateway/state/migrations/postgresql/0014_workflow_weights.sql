-- What a workflow takes of its subject's room, in bytes, where somebody has made or changed it beside its tasks.
ALTER TABLE workflow ADD COLUMN stored_bytes bigint NOT NULL DEFAULT 0;
CREATE INDEX workflow_weight ON workflow (subject, stored_bytes) WHERE stored_bytes > 0;
