"""Sites in SQLite. Every function takes a connection and waits; those that write are one write of a transaction."""

import dataclasses
import sqlite3
from collections.abc import Mapping
from typing import Final

from gateway.sites import Site

_COLUMNS: Final = ", ".join(f"site.{column.name}" for column in dataclasses.fields(Site))


def add(db: sqlite3.Connection, site: Site) -> None:
    """See `StateStore.add_site`."""
    db.execute("INSERT INTO site VALUES (?, ?, ?, ?, ?, ?, ?, ?)", dataclasses.astuple(site))


def find(db: sqlite3.Connection, label_hash: bytes) -> Site | None:
    """See `StateStore.find_site`."""
    row = db.execute(f"SELECT {_COLUMNS} FROM site WHERE label_hash = ?", (label_hash,)).fetchone()
    return _decode(row) if row else None


def use(db: sqlite3.Connection, used_at: Mapping[bytes, int]) -> None:
    """See `StateStore.use_sites`."""
    db.executemany(
        "UPDATE site SET used_at = max(used_at, ?) WHERE label_hash = ?",
        [(at, label_hash) for label_hash, at in used_at.items()],
    )


def over(db: sqlite3.Connection, before_ms: int, limit: int) -> list[Site]:
    """See `StateStore.sites_over`."""
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM site LEFT JOIN task USING (task_id) WHERE task.task_id IS NULL"
        " OR (task.ended_at IS NOT NULL AND max(task.ended_at, site.used_at) < ?) LIMIT ?",
        (before_ms, limit),
    )
    return [_decode(row) for row in rows]


def remove(db: sqlite3.Connection, label_hash: bytes) -> None:
    """See `StateStore.remove_site`."""
    db.execute("DELETE FROM site WHERE label_hash = ?", (label_hash,))


def _decode(row: tuple[bytes, str, str, str, str, str | None, int, int]) -> Site:
    names = (column.name for column in dataclasses.fields(Site))
    return Site(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]
