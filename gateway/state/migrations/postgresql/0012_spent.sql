-- Tokens that are good for one use and have had it, until they would have expired.
CREATE TABLE spent (token_id text COLLATE "C" PRIMARY KEY, expires_at bigint NOT NULL);
