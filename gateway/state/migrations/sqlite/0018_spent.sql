-- Tokens that are good for one use and have had it, until they would have expired.
CREATE TABLE spent (token_id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
