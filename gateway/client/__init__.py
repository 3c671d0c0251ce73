"""The Python client; the command line stands on it."""
