"""Inspects a SQLite store, and the disk below it, from outside, for `gateway check`. Nothing here changes the store."""

import contextlib
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from gateway.state.sqlite import retention
from gateway.state.sqlite.connection import errors_translated
from gateway.state.values import Retention, Size

SYNCS: Final = 9
"""Writes whose median is what a sync takes."""
LOOK_S: Final = 5.0
"""How long a look at every page may take; a large file is not looked at as a whole."""
KINDS: Final = {
    "task": "tasks",
    "task_payload": "tasks",
    "task_input": "tasks",
    "event": "logs",
    "newest_0": "logs",
    "newest_0_place": "logs",
    "newest_1": "logs",
    "newest_1_place": "logs",
    "file": "files",
    "file_piece": "files",
    "file_set": "files",
    "workflow": "workflows",
    "idempotency": "keys",
    "note": "flight recorder",
}
"""What an operator calls the tables; all others are `other`."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a store has: tasks by status, bytes by kind (empty where that takes too long), and what is due to go."""

    size: Size
    schema: int
    tasks: Mapping[str, int]
    kinds: Mapping[str, int]
    logs_due: int
    tasks_due: int
    damage: str | None


def time_sync(folder: Path) -> float:
    """Seconds that a small durable write takes below `folder`, tried on a file of its own.

    Raises `StoreUnavailableError`, and OSError where there is no room for the file.
    """
    with errors_translated(), tempfile.TemporaryDirectory(prefix="check-", dir=folder) as scratch:
        connection = sqlite3.connect(Path(scratch) / "sync.db", isolation_level=None)
        with closing(connection) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("CREATE TABLE written (data BLOB)")
            return median(_timed_write(db) for _ in range(SYNCS))


def _timed_write(db: sqlite3.Connection) -> float:
    began = time.perf_counter()
    db.execute("INSERT INTO written VALUES (zeroblob(4096))")
    return time.perf_counter() - began


def inspected(path: Path, rule: Retention) -> Inspection:
    """What is in the store at `path`, also while a gateway uses it. Raises `StoreUnavailableError`."""
    with errors_translated(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.execute("BEGIN")  # one moment for all of it
        logs_due, tasks_due = retention.due(db, rule)
        return Inspection(
            size=retention.size_of(db),
            schema=int(db.execute("PRAGMA user_version").fetchone()[0]),
            tasks=dict(db.execute("SELECT status, count(*) FROM task GROUP BY status ORDER BY status")),
            kinds=_kinds(db),
            logs_due=logs_due,
            tasks_due=tasks_due,
            damage=_damage(db),
        )


def _kinds(db: sqlite3.Connection) -> Mapping[str, int]:
    """Bytes of pages by kind; empty where this SQLite can't tell, or not in time."""
    sizes = Counter[str]()
    with contextlib.suppress(sqlite3.OperationalError), _in_time(db):
        found = db.execute(
            "SELECT ifnull(tbl_name, name), sum(pgsize) FROM dbstat LEFT JOIN sqlite_schema USING (name)"
            " WHERE aggregate = TRUE GROUP BY 1"
        ).fetchall()
        for table, size in found:
            sizes[KINDS.get(table, "other")] += size
    return dict(sizes.most_common())


def _damage(db: sqlite3.Connection) -> str | None:
    """What is wrong with the file; None where nothing was found in time."""
    with contextlib.suppress(sqlite3.OperationalError), _in_time(db):
        (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
        return None if said == "ok" else str(said)
    return None


@contextlib.contextmanager
def _in_time(db: sqlite3.Connection) -> Iterator[None]:
    deadline = time.monotonic() + LOOK_S
    db.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)
