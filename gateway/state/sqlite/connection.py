"""A connection to the file, its errors translated, and what is done over it at once."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.errors import StoreUnavailableError

BUSY_TIMEOUT_S: Final = 5.0
"""How long a write waits for another process that holds the file."""
_HINTS: Final = {
    sqlite3.SQLITE_BUSY: "another process holds the database",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the file is no database of ours",
    sqlite3.SQLITE_READONLY: "the file is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file can't be opened",
}

STATEMENTS: Final = 256
"""So many stay prepared: those of `appends` for each number of rows are most of them, some 20 KiB each."""


class OverConnection:
    """A part of the tables, over one connection. Its methods wait for the disk, and never suspend."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db


def connect(path: Path) -> sqlite3.Connection:
    """A connection for one thread; only the last act, closing, may be another's."""
    return sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS,
    )


@contextmanager
def errors_translated() -> Iterator[None]:
    """Raise SQLite's errors as `StoreUnavailableError`."""
    try:
        yield
    except sqlite3.Error as error:
        hint = _HINTS.get(primary_code(error))
        raise StoreUnavailableError(f"SQLite: {error}" + f" ({hint})" * (hint is not None)) from error


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without what extends it; 0 for an error of the module's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
