"""Checkpoints in PostgreSQL; `add` is one write of a transaction."""

from typing import Final

import orjson

from gateway.checkpoints import Checkpoint, NewCheckpoint, named_parts, put_together
from gateway.state.postgresql.pool import Connection
from gateway.tasks import TaskRecord

_COLUMNS: Final = (
    "checkpoint_id, workflow_id, task_id, seq, step_name, agent_name, data, metadata, created_at"
)


async def add(db: Connection, task: TaskRecord, new: NewCheckpoint, *, now_ms: int) -> None:
    """Keep a checkpoint of what the task's newest event tells of."""
    await db.executemany(
        "INSERT INTO checkpoint_part VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [(task.workflow_id, digest, part) for digest, part in sorted(new.parts.items())],
    )
    await db.execute(
        "INSERT INTO checkpoint VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(new.checkpoint_id, task.workflow_id, task.task_id, task.last_seq),
        *(new.step_name, new.agent_name, new.row, orjson.dumps(new.metadata).decode(), now_ms),
    )


async def get(db: Connection, checkpoint_id: str) -> Checkpoint | None:
    """See `StateStore.get_checkpoint`."""
    return await _found(db, "checkpoint_id = $1", checkpoint_id)


async def newest(db: Connection, task: TaskRecord) -> Checkpoint | None:
    """See `StateStore.newest_checkpoint`."""
    return await _found(
        db, "workflow_id = $1 AND task_id = $2 ORDER BY seq DESC LIMIT 1", task.workflow_id, task.task_id
    )


async def _found(db: Connection, where: str, *values: str) -> Checkpoint | None:
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM checkpoint WHERE {where}", *values)
    if row is None:
        return None
    parts = await db.fetch(
        "SELECT sha256, data FROM checkpoint_part WHERE workflow_id = $1 AND sha256 = ANY($2::bytea[])",
        *(row["workflow_id"], named_parts(row["data"])),
    )
    fields = dict(row)
    data = put_together(fields.pop("data"), {row["sha256"]: row["data"] for row in parts})
    fields["metadata"] = orjson.loads(fields["metadata"])
    return Checkpoint(checkpoint_data=data, **fields)
