"""State in SurrealDB."""
