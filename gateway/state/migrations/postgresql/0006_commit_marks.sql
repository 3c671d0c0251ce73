-- What each writer has committed last. A transaction's own number is no proof: a crash that lost it gives it out again.
CREATE TABLE commit_mark (
    writer text COLLATE "C" PRIMARY KEY,
    mark   bigint NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
