-- What a task was asked to do, in a few words of its input; none of tasks from before.
ALTER TABLE task ADD COLUMN title text COLLATE "C";
