"""The state store in PostgreSQL."""
