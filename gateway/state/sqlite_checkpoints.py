"""Checkpoints in SQLite. Every function takes a connection and waits; `add` is one write of a transaction."""

import sqlite3
from typing import Any, Final

import orjson

from gateway.checkpoints import Checkpoint, NewCheckpoint, named_parts, put_together
from gateway.tasks import TaskRecord

_NAMES: Final = (
    *("checkpoint_id", "workflow_id", "task_id", "seq", "step_name"),
    *("agent_name", "data", "metadata", "created_at"),
)
_COLUMNS: Final = ", ".join(_NAMES)


def add(db: sqlite3.Connection, task: TaskRecord, new: NewCheckpoint, *, now_ms: int) -> None:
    """Keep a checkpoint of what the task's newest event tells of."""
    db.executemany(
        "INSERT OR IGNORE INTO checkpoint_part VALUES (?, ?, ?)",
        [(task.workflow_id, digest, part) for digest, part in new.parts.items()],
    )
    metadata = orjson.dumps(new.metadata).decode()
    db.execute(
        "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(new.checkpoint_id, task.workflow_id, task.task_id, task.last_seq),
            *(new.step_name, new.agent_name, new.row, metadata, now_ms),
        ),
    )


def get(db: sqlite3.Connection, checkpoint_id: str) -> Checkpoint | None:
    """See `StateStore.get_checkpoint`."""
    return _found(db, "checkpoint_id = ?", checkpoint_id)


def newest(db: sqlite3.Connection, task: TaskRecord) -> Checkpoint | None:
    """See `StateStore.newest_checkpoint`."""
    return _found(
        db, "workflow_id = ? AND task_id = ? ORDER BY seq DESC LIMIT 1", task.workflow_id, task.task_id
    )


def _found(db: sqlite3.Connection, where: str, *values: str) -> Checkpoint | None:
    found = db.execute(f"SELECT {_COLUMNS} FROM checkpoint WHERE {where}", values).fetchone()
    return None if found is None else _checkpoint(db, found)


def _checkpoint(db: sqlite3.Connection, row: tuple[Any, ...]) -> Checkpoint:
    fields = dict(zip(_NAMES, row, strict=True))
    data = fields.pop("data")
    sql = "SELECT data FROM checkpoint_part WHERE workflow_id = ? AND sha256 = ?"
    parts = {
        digest: db.execute(sql, (fields["workflow_id"], digest)).fetchone()[0] for digest in named_parts(data)
    }
    fields["metadata"] = orjson.loads(fields["metadata"])
    return Checkpoint(checkpoint_data=put_together(data, parts), **fields)
