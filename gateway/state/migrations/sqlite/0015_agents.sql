-- What the input of each instance's agents must be: told once, and read once by each of the others.
CREATE TABLE instance_agents (
    instance TEXT PRIMARY KEY,
    agents   TEXT NOT NULL              -- JSON: JSON Schemas by the agents' names
) STRICT, WITHOUT ROWID;
