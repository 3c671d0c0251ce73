-- What the input of each instance's agents must be: told once, and read once by each of the others.
CREATE TABLE instance_agents (
    instance text COLLATE "C" PRIMARY KEY,
    agents   text COLLATE "C" NOT NULL                -- JSON: JSON Schemas by the agents' names
);
