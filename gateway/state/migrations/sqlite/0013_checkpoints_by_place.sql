-- A task's newest checkpoint is looked for once an attempt; this index was written with each checkpoint.
DROP INDEX checkpoint_by_place;
