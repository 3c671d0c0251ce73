-- At which instances somebody watches a task whose detach policy minds, or when the last one left.
ALTER TABLE task ADD COLUMN watchers text COLLATE "C" NOT NULL DEFAULT '{}';   -- JSON
