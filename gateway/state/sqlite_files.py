"""Files in SQLite. Every function takes a connection and waits; those that write are one write of a transaction."""

import sqlite3
from typing import Final

from gateway.errors import LeaseLostError
from gateway.files import Batch, FileInfo, Stored
from gateway.tasks import Fence

DROP_PIECES: Final = 64
"""Pieces that one transaction drops, 16 MiB at most: others wait for it no longer than for a batch of events."""


def add(db: sqlite3.Connection, set_id: str, batch: Batch, *, now_ms: int) -> None:
    """See `StateStore.add_files`; done once more it changes nothing."""
    db.execute("INSERT OR IGNORE INTO file_set VALUES (?, NULL, 0, ?)", (set_id, now_ms))
    db.execute("UPDATE file_set SET added_at = ? WHERE set_id = ?", (now_ms, set_id))
    db.executemany(
        "INSERT OR IGNORE INTO file_piece VALUES (?, ?, ?, ?)",
        [(set_id, piece.number, piece.part, piece.data) for piece in batch.pieces],
    )
    db.executemany(
        "INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?, ?)",
        [(set_id, file.number, file.path, file.size, file.sha256) for file in batch.files],
    )


def hold(db: sqlite3.Connection, set_id: str, fence: Fence) -> None:
    """Give a set that a run adds to its place, and let go of those of earlier runs."""
    held = db.execute(
        "SELECT 1 FROM task WHERE task_id = ? AND owner = ? AND epoch = ?",
        (fence.task_id, fence.owner, fence.epoch),
    ).fetchone()
    if held is None:
        raise LeaseLostError(fence.task_id)
    _let_go(db, "task_id = ? AND epoch BETWEEN 1 AND ?", (fence.task_id, fence.epoch - 1))
    give(db, set_id, fence.task_id, epoch=fence.epoch)


def give(db: sqlite3.Connection, set_id: str, task_id: str, *, epoch: int = 0) -> bool:
    """Make a set a task's: what was uploaded for it, or what its run of that epoch gave back.

    False where it is not nobody's: somebody's already, or gone.
    """
    given = db.execute(
        "UPDATE file_set SET task_id = ?, epoch = ? WHERE set_id = ? AND task_id IS NULL",
        (task_id, epoch, set_id),
    )
    return given.rowcount == 1


def let_go_of_task(db: sqlite3.Connection, task_id: str) -> None:
    """Make all sets of a task nobody's."""
    _let_go(db, "task_id = ?", (task_id,))


def _let_go(db: sqlite3.Connection, where: str, values: tuple[str | int, ...]) -> None:
    db.execute(f"UPDATE file_set SET task_id = NULL, added_at = 0 WHERE {where}", values)


def drop_some(db: sqlite3.Connection, set_id: str) -> bool:
    """Drop a part of a set that is nobody's; whether there is more of it."""
    owned = "SELECT 1 FROM file_set WHERE set_id = ? AND task_id IS NULL"
    if db.execute(owned, (set_id,)).fetchone() is None:
        return False
    dropped = db.execute(
        "DELETE FROM file_piece WHERE rowid IN (SELECT rowid FROM file_piece WHERE set_id = ? LIMIT ?)",
        (set_id, DROP_PIECES),
    )
    if dropped.rowcount == DROP_PIECES:
        return True
    db.execute("DELETE FROM file WHERE set_id = ?", (set_id,))
    db.execute("DELETE FROM file_set WHERE set_id = ?", (set_id,))
    return False


def nobodys(db: sqlite3.Connection, *, before_ms: int) -> list[str]:
    """Sets that belong to no task, and were added to last before `before_ms`."""
    found = db.execute("SELECT set_id FROM file_set WHERE task_id IS NULL AND added_at < ?", (before_ms,))
    return [set_id for (set_id,) in found]


def find(db: sqlite3.Connection, task_id: str, epoch: int) -> str | None:
    """See `StateStore.find_files`."""
    query = "SELECT set_id FROM file_set WHERE task_id = ? AND epoch = ?"
    found = db.execute(query, (task_id, epoch)).fetchone()
    return str(found[0]) if found else None


def infos(db: sqlite3.Connection, set_id: str, path: str | None) -> list[FileInfo]:
    """See `StateStore.list_files`."""
    query = "SELECT path, size, sha256, number FROM file WHERE set_id = ? AND path = ifnull(?, path) ORDER BY number"
    return [FileInfo(*row) for row in db.execute(query, (set_id, path))]


def read(db: sqlite3.Connection, set_id: str, after: tuple[int, int], max_bytes: int) -> list[Stored]:
    """See `StateStore.read_files`."""
    rows = db.execute(
        """
        SELECT path, data, number, part,
            NOT EXISTS (SELECT 1 FROM file_piece AS further WHERE further.set_id = file_piece.set_id
                AND further.number = file_piece.number AND further.part = file_piece.part + 1)
        FROM file_piece JOIN file USING (set_id, number)
        WHERE set_id = ? AND (number, part) > (?, ?) ORDER BY number, part
        """,
        (set_id, *after),
    )
    found: list[Stored] = []
    size = 0
    for path, data, number, part, last in rows:
        found.append(Stored(path, data, bool(last), (number, part)))
        size += len(data)
        if size >= max_bytes or len(found) >= MAX_READ_PIECES:
            break
    return found


def piece(db: sqlite3.Connection, set_id: str, number: int, part: int) -> bytes | None:
    """See `StateStore.read_piece`."""
    query = "SELECT data FROM file_piece WHERE set_id = ? AND number = ? AND part = ?"
    found = db.execute(query, (set_id, number, part)).fetchone()
    return bytes(found[0]) if found else None


MAX_READ_PIECES: Final = 1000
"""Pieces of one read, however small they are."""
