"""Checkpoints in SQLite. Every function takes a connection and waits; `add` is one write of a transaction."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.checkpoints import SHOWN_BYTES, Checkpoint, NewCheckpoint, named_parts, put_together
from gateway.tasks import TaskRecord

_NAMES: Final = (
    *("checkpoint_id", "workflow_id", "task_id", "seq", "step_name"),
    *("agent_name", "data", "metadata", "created_at"),
)
_COLUMNS: Final = ", ".join(_NAMES)


def add(db: sqlite3.Connection, place: tuple[str, str, int], new: NewCheckpoint, *, now_ms: int) -> None:
    """Keep a checkpoint; its `place` is the workflow, the task or "", and the event or the workflow's version."""
    add_parts(db, place[0], new.parts)
    metadata = orjson.dumps(new.metadata).decode()
    db.execute(
        "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (new.checkpoint_id, *place, new.step_name, new.agent_name, new.row, metadata, now_ms),
    )


def add_parts(db: sqlite3.Connection, workflow_id: str, some: Mapping[bytes, bytes]) -> None:
    """Keep those of a workflow's parts that it has not yet."""
    rows = [(workflow_id, digest, part) for digest, part in some.items()]
    db.executemany("INSERT OR IGNORE INTO checkpoint_part VALUES (?, ?, ?)", rows)


def parts(
    db: sqlite3.Connection, workflow_id: str, digests: Sequence[bytes], max_bytes: int | None
) -> dict[bytes, bytes] | None:
    """Parts by their SHA-256; None where they are more than `max_bytes`."""
    keys = [(workflow_id, digest) for digest in digests]
    if max_bytes is not None:
        sql = "SELECT length(data) FROM checkpoint_part WHERE workflow_id = ? AND sha256 = ?"
        if sum(db.execute(sql, key).fetchone()[0] for key in keys) > max_bytes:
            return None
    sql = "SELECT data FROM checkpoint_part WHERE workflow_id = ? AND sha256 = ?"
    return {key[1]: db.execute(sql, key).fetchone()[0] for key in keys}


def get(db: sqlite3.Connection, checkpoint_id: str) -> Checkpoint | None:
    """See `StateStore.get_checkpoint`."""
    return _found(db, "checkpoint_id = ?", checkpoint_id)


def newest(db: sqlite3.Connection, task: TaskRecord) -> Checkpoint | None:
    """See `StateStore.newest_checkpoint`."""
    return _found(
        db, "workflow_id = ? AND task_id = ? ORDER BY seq DESC LIMIT 1", task.workflow_id, task.task_id
    )


def last_of(db: sqlite3.Connection, workflow_id: str, step_name: str | None) -> Checkpoint | None:
    """See `StateStore.last_checkpoint`."""
    order = "ORDER BY checkpoint_id DESC LIMIT 1"
    if step_name is None:
        return _found(db, f"workflow_id = ? {order}", workflow_id)
    return _found(db, f"workflow_id = ? AND step_name = ? {order}", workflow_id, step_name)


def listed(db: sqlite3.Connection, workflow_id: str, after: str, limit: int) -> list[Checkpoint]:
    """See `StateStore.list_checkpoints`."""
    sql = (
        f"SELECT {_COLUMNS} FROM checkpoint WHERE workflow_id = ? AND checkpoint_id > ?"
        " ORDER BY checkpoint_id LIMIT ?"
    )
    rows = db.execute(sql, (workflow_id, after, limit)).fetchall()
    return [_checkpoint(db, row, max_bytes=SHOWN_BYTES) for row in rows]


def _found(db: sqlite3.Connection, where: str, *values: str) -> Checkpoint | None:
    found = db.execute(f"SELECT {_COLUMNS} FROM checkpoint WHERE {where}", values).fetchone()
    return None if found is None else _checkpoint(db, found, max_bytes=None)


def _checkpoint(db: sqlite3.Connection, row: tuple[Any, ...], *, max_bytes: int | None) -> Checkpoint:
    fields = dict(zip(_NAMES, row, strict=True))
    data = fields.pop("data")
    room = None if max_bytes is None else max_bytes - len(data)
    found = parts(db, fields["workflow_id"], named_parts(data), room)
    fields["metadata"] = orjson.loads(fields["metadata"])
    fields["task_id"] = fields["task_id"] or None
    return Checkpoint(checkpoint_data=None if found is None else put_together(data, found), **fields)
